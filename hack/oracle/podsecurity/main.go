// What Kubernetes' own evaluator of Pod Security forbids: single fields and seeded mixtures of them, for each level and minor
// version. A row has the pod, and for each level the answers by the minor version from which they hold.
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// One minor version after the last with rules of its own.
const newest = 38

type finding struct {
	Reason string   `json:"reason"`
	Names  []string `json:"names"`
}

type answer struct {
	Since    int       `json:"since"`
	Findings []finding `json:"findings"`
}

type row struct {
	Pod        json.RawMessage `json:"pod"`
	Baseline   []answer        `json:"baseline"`
	Restricted []answer        `json:"restricted"`
}

type labelRow struct {
	Labels map[string]string `json:"labels"`
	// Levels and versions: enforce, audit, warn.
	Policy [3]string `json:"policy"`
}

// A fragment of a pod: where it goes, and its JSON. Places: pod and container contexts, containers, the spec, a volume, an
// annotation.
type fragment struct{ place, text string }

var containers = []string{"c-init", "c-app", "c-debug"}

func fragments() []fragment {
	var all []fragment
	add := func(text string, places ...string) {
		for _, place := range places {
			all = append(all, fragment{place, text})
		}
	}
	everywhere := append([]string{"pod"}, containers...)
	for _, profile := range []string{`{"type":"RuntimeDefault"}`, `{"type":"Localhost","localhostProfile":"a"}`, `{"type":"Unconfined"}`, `{}`} {
		add(`"seccompProfile":`+profile, everywhere...)
		add(`"appArmorProfile":`+profile, everywhere...)
	}
	for _, options := range []string{`{"type":"container_t"}`, `{"type":"container_engine_t"}`, `{"type":"spc_t"}`, `{"user":"u"}`, `{"role":"r"}`, `{"level":"s0"}`, `{"type":"container_init_t","user":"u","role":"r"}`} {
		add(`"seLinuxOptions":`+options, everywhere...)
	}
	for _, value := range []string{"true", "false"} {
		add(`"runAsNonRoot":`+value, everywhere...)
		add(`"windowsOptions":{"hostProcess":`+value+`}`, everywhere...)
		add(`"privileged":`+value, containers...)
		add(`"allowPrivilegeEscalation":`+value, containers...)
	}
	for _, value := range []string{"0", "1337"} {
		add(`"runAsUser":`+value, everywhere...)
	}
	for _, value := range []string{`"Default"`, `"Unmasked"`, `""`} {
		add(`"procMount":`+value, containers...)
	}
	for _, value := range []string{`{}`, `{"drop":["ALL"]}`, `{"drop":["all","CAP_ALL"]}`, `{"drop":["ALL"],"add":["NET_BIND_SERVICE"]}`, `{"drop":["ALL"],"add":["CHOWN","SETUID"]}`, `{"add":["NET_ADMIN","NET_RAW"],"drop":["ALL"]}`, `{"add":["CAP_CHOWN"]}`, `{"add":["chown"]}`} {
		add(`"capabilities":`+value, containers...)
	}
	sysctls := []string{"kernel.shm_rmid_forced", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_rmem", "net.ipv4.tcp_notsent_lowat", "net.ipv4.tcp_slow_start_after_idle", "kernel.msgmax"}
	for _, name := range sysctls {
		add(fmt.Sprintf(`"sysctls":[{"name":%q,"value":"1"}]`, name), "pod")
	}
	for _, kind := range []string{"hostPath", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret", "nfs", "gitRepo", "iscsi", "storageos"} {
		add(fmt.Sprintf(`{"name":"v-%s","%s":{}}`, strings.ToLower(kind), kind), "volume")
	}
	for _, field := range []string{`"hostNetwork":true`, `"hostPID":true`, `"hostIPC":true`, `"hostPID":false`, `"hostUsers":false`, `"hostUsers":true`, `"os":{"name":"windows"}`, `"os":{"name":"linux"}`} {
		add(field, "spec")
	}
	for _, field := range []string{`"ports":[{"containerPort":1,"hostPort":8080}]`, `"ports":[{"containerPort":1,"hostPort":0}]`, `"livenessProbe":{"httpGet":{"port":1,"host":"h"}}`, `"readinessProbe":{"tcpSocket":{"port":1,"host":"h"}}`, `"startupProbe":{"httpGet":{"port":1,"host":""}}`, `"startupProbe":{"tcpSocket":{"port":1,"host":"h"}}`, `"lifecycle":{"postStart":{"httpGet":{"port":1,"host":"h"}}}`, `"lifecycle":{"preStop":{"tcpSocket":{"port":1,"host":"h"}}}`, `"lifecycle":{"preStop":{"sleep":{"seconds":1}}}`} {
		for _, name := range containers {
			add(field, name+"/")
		}
	}
	for _, value := range []string{"runtime/default", "docker/default", "localhost/a", "unconfined", ""} {
		for _, key := range []string{"container.apparmor.security.beta.kubernetes.io/c-app", "container.apparmor.security.beta.kubernetes.io/c-gone", "seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/c-app", "container.seccomp.security.alpha.kubernetes.io/c-gone"} {
			add(fmt.Sprintf("%q:%q", key, value), "annotation")
		}
	}
	return all
}

const (
	podContext = `"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}`
	ownContext = `"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}`
)

// A pod with some fragments, over one that meets every level, or over a bare one. Of two fragments for one key, the last wins.
func pod(isBare bool, fragments []fragment) string {
	var volumes, spec, annotations []string
	contexts := map[string][]string{}
	fields := map[string][]string{}
	if !isBare {
		contexts["pod"] = []string{podContext}
		for _, name := range containers {
			contexts[name] = []string{ownContext}
		}
	}
	for _, f := range fragments {
		switch {
		case f.place == "volume":
			volumes = append(volumes, f.text)
		case f.place == "spec":
			spec = append(spec, f.text)
		case f.place == "annotation":
			annotations = append(annotations, f.text)
		case strings.HasSuffix(f.place, "/"):
			name := strings.TrimSuffix(f.place, "/")
			fields[name] = append(fields[name], f.text)
		default:
			contexts[f.place] = append(contexts[f.place], f.text)
		}
	}
	context := func(name string) string {
		if len(contexts[name]) == 0 {
			return ""
		}
		return `"securityContext":{` + strings.Join(contexts[name], ",") + `}`
	}
	join := func(parts ...string) string {
		return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), ",")
	}
	container := func(name string) string {
		return "[{" + join(fmt.Sprintf(`"name":%q`, name), context(name), join(fields[name]...)) + "}]"
	}
	return `{"metadata":{"annotations":{` + join(annotations...) + `}},"spec":{` + join(
		`"initContainers":`+container("c-init"), `"containers":`+container("c-app"), `"ephemeralContainers":`+container("c-debug"),
		`"volumes":[`+join(volumes...)+`]`, join(spec...), context("pod")) + `}}`
}

var quoted = regexp.MustCompile(`"([cv]-[a-z]+)"`)

func ask(evaluator policy.Evaluator, level api.Level, pod *corev1.Pod) []answer {
	var answers []answer
	before := ""
	for minor := 0; minor <= newest; minor++ {
		version := api.LevelVersion{Level: level, Version: api.MajorMinorVersion(1, minor)}
		findings := []finding{}
		for _, result := range evaluator.EvaluatePod(version, &pod.ObjectMeta, &pod.Spec) {
			if result.Allowed {
				continue
			}
			names := []string{}
			for _, match := range quoted.FindAllStringSubmatch(result.ForbiddenDetail, -1) {
				names = append(names, match[1])
			}
			if strings.HasPrefix(result.ForbiddenDetail, "pod ") && !strings.HasPrefix(result.ForbiddenDetail, "pod or ") {
				names = append(names, "pod")
			}
			slices.Sort(names)
			findings = append(findings, finding{result.ForbiddenReason, slices.Compact(names)})
		}
		if text := encoded(findings); text != before {
			answers = append(answers, answer{minor, findings})
			before = text
		}
	}
	return answers
}

func encoded(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func labelRows() []string {
	values := map[string][]string{"": {"", "privileged", "baseline", "restricted", "Restricted"}, "-version": {"", "latest", "v1.30", "v1.030", "1.30"}}
	random := rand.New(rand.NewSource(1))
	var rows []string
	for range 150 {
		labels := map[string]string{}
		for _, mode := range []string{"enforce", "audit", "warn"} {
			for _, part := range []string{"", "-version"} {
				if value := values[part][random.Intn(5)]; value != "" {
					labels["pod-security.kubernetes.io/"+mode+part] = value
				}
			}
		}
		defaults := api.Policy{}
		for _, place := range []*api.LevelVersion{&defaults.Enforce, &defaults.Audit, &defaults.Warn} {
			*place = api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()}
		}
		found, _ := api.PolicyToEvaluate(labels, defaults)
		rows = append(rows, encoded(labelRow{labels, [3]string{found.Enforce.String(), found.Audit.String(), found.Warn.String()}}))
	}
	return rows
}

func main() {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		panic(err)
	}
	all := fragments()
	var pods []string
	for _, f := range all {
		// The other containers occur in the mixtures.
		if !strings.HasPrefix(f.place, "c-init") && !strings.HasPrefix(f.place, "c-debug") {
			pods = append(pods, pod(false, []fragment{f}))
		}
	}
	random := rand.New(rand.NewSource(1))
	for i := range 300 {
		var some []fragment
		for range 2 + random.Intn(6) {
			some = append(some, all[random.Intn(len(all))])
		}
		pods = append(pods, pod(i%3 == 0, some))
	}
	var rows []string
	for _, text := range pods {
		// Of two equal keys, the last.
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			panic(err)
		}
		text = encoded(value)
		var pod corev1.Pod
		if err := json.Unmarshal([]byte(text), &pod); err != nil {
			panic(err)
		}
		rows = append(rows, encoded(row{json.RawMessage(text), ask(evaluator, api.LevelBaseline, &pod), ask(evaluator, api.LevelRestricted, &pod)}))
	}
	fmt.Printf("{\"labels\":[\n%s\n],\"rows\":[\n%s\n]}\n", strings.Join(labelRows(), ",\n"), strings.Join(rows, ",\n"))
}
