package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// wholes are objects with more than one field: what people write, keys in any case, keys given twice, and JSON.
func wholes() []Whole {
	var out []Whole
	add := func(kind string, texts ...string) {
		for _, text := range texts {
			out = append(out, Whole{Kind: kind, Text: text})
		}
	}
	add("Pod",
		"metadata: {name: 123, labels: {sidecar.istio.io/inject: false, version: 1.10, build: 0123, on: yes}}\nspec: {containers: [{name: a, image: 1.0, args: [-c, 5, true, 1e3, ~], env: [{name: A, value: 1}, {name: Y, value: no}]}]}\n",
		"metadata: {annotations: {proxy.istio.io/config: {concurrency: 2}}}\n",
		"metadata: {annotations: {a: [1]}}\n",
		"spec: {RestartPolicy: Never, HOSTNETWORK: true, containers: [{Name: a, Image: b, imagepullpolicy: Always}]}\n",
		"spec: {hostNetwork: false, hostnetwork: true}\n", "spec: {hostnetwork: false, hostNetwork: true}\n", "spec: {HostNetwork: true, hostNetwork: false}\n",
		"spec: {hostNetwork: true, hostNetwork: false}\n", "spec: {hostNetwork: [a], hostNetwork: true}\n",
		"metadata: {labels: {a: 1, a: 2}}\n", "metadata: {labels: {A: 1, a: 2}}\n",
		"spec: {containers: [{livenessProbe: {httpGet: {path: 1, port: 80}}}]}\n", "spec: {containers: [{livenessProbe: {httpGet: {path: /, port: 80, httpHeaders: [{name: a, value: 1}]}}}]}\n",
		"spec: {containers: [{lifecycle: {preStop: {exec: {command: [sleep, 5]}}, postStart: {httpGet: {path: 1, port: 80}}}}]}\n",
		"spec: {containers: [{livenessProbe: {exec: {command: [sleep, 5]}}}]}\n",
		"spec: {volumes: [{name: 1, configMap: {name: 2}}]}\n", "spec: {volumes: [{name: 1, secret: {secretName: 2}}]}\n", "spec: {volumes: [{name: 1, emptyDir: {medium: ~, sizeLimit: 1e3}}]}\n", "spec: {volumes: [{name: 1, hostPath: {path: 5}}]}\n",
		"spec: {containers: [{env: [{name: 1, valueFrom: {configMapKeyRef: {name: 1, key: a}}}]}]}\n", "spec: {containers: [{env: [{name: 1, valueFrom: {configMapKeyRef: {name: a, key: 1}}}]}]}\n", "spec: {containers: [{env: [{name: 1, valueFrom: {fieldRef: {fieldPath: 1}}}]}]}\n",
		"spec: {containers: [{envFrom: [{prefix: 1, configMapRef: {name: 1}}]}]}\n", "spec: {imagePullSecrets: [{name: 1}]}\n",
		"spec: {containers: [{resources: {limits: {cpu: 1, memory: 1e3Mi}}}]}\n", "spec: {containers: [{resources: {limits: {cpu: 0.5, memory: 1e3}}}]}\n", "spec: {hostNetwork: \"false\"}\n", "spec: {containers: [{args: [[a, b]]}]}\n", "spec: {containers: [{args: a}]}\n",
		"spec: {containers: {name: a}}\n", "spec: {containers: [a]}\n", "spec: {containers: [~]}\n", "spec: []\n", "spec: a\n", "spec: ~\n", "metadata: ~\n", "[]\n", "a\n", "~\n",
		"spec: {ephemeralContainers: [{name: 1, image: 2}]}\n", "spec: {ephemeralContainers: [{name: a, args: [1]}]}\n", "spec: {nodeSelector: {a: true, b: 1, c: ~}}\n", "spec: {tolerations: [{key: a, value: true, tolerationSeconds: 5}]}\n", "spec: {tolerations: [{key: a, tolerationSeconds: \"5\"}]}\n",
		"spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: [1, true]}]}]}}}}\n",
		"spec: {hostAliases: [{ip: 1, hostnames: [1, a]}], dnsConfig: {nameservers: [1], options: [{name: ndots, value: 5}]}}\n", "spec: {securityContext: {sysctls: [{name: a, value: 1}], runAsUser: \"0\"}}\n", "spec: {securityContext: {sysctls: [{name: a, value: 1}], runAsUser: 0}}\n",
		"spec: {containers: [{ports: [{containerPort: \"80\"}]}]}\n", "spec: {containers: [{ports: [{containerPort: 80.0, name: 1}]}]}\n", "spec: {containers: [{ports: [{containerPort: 80.5}]}]}\n", "spec: {containers: [{readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1.0}}]}\n", "spec: {containers: [{readinessProbe: {tcpSocket: {port: true}}}]}\n", "spec: {terminationGracePeriodSeconds: 1e1}\n", "metadata: {creationTimestamp: ~, generation: 1}\n", "metadata: {creationTimestamp: 2020-01-01}\n", "metadata: {finalizers: [1]}\n", "metadata: {managedFields: [{fieldsV1: {f:a: {}}, operation: 1}]}\n",
		`{"metadata": {"labels": {"a": true, "b": 1e6, "c": 017}}, "Spec": {"hostnetwork": true, "containers": [{"NAME": "a"}]}}`, `{"spec": {"hostNetwork": "true"}}`, `{"metadata": {"annotations": {"a": null}}}`,
		"a: &x {containers: [{name: 1}]}\nspec: *x\n", "l: &l {a: 1}\nmetadata: {labels: {<<: *l, b: 2}}\n",
	)
	add("Deployment",
		"metadata: {labels: {version: 1.10}}\nspec: {replicas: 3, selector: {matchLabels: {version: 1.10}}, template: {metadata: {labels: {version: 1.10}}}}\n",
		"spec: {replicas: \"3\"}\n", "spec: {replicas: 3.0}\n", "spec: {replicas: 1e1}\n", "spec: {strategy: {rollingUpdate: {maxSurge: 25%, maxUnavailable: 0}}}\n", "spec: {strategy: {rollingUpdate: {maxSurge: 0.5}}}\n", "spec: {template: []}\n", "spec: {template: {spec: {containers: [{name: a, command: [sleep, 1d, 3600]}]}}}\n", "spec: {}\n", "status: {replicas: a}\n",
	)
	add("CronJob", "spec: {schedule: 5, suspend: no, jobTemplate: {metadata: {labels: {a: 1}}, spec: {template: {metadata: {labels: {a: yes}}, spec: {restartPolicy: OnFailure}}}}}\n", "spec: {suspend: \"no\"}\n", "spec: {startingDeadlineSeconds: 1.5}\n")
	add("StatefulSet", "spec: {serviceName: 1, volumeClaimTemplates: [{metadata: {name: 1}, spec: {accessModes: [1], resources: {requests: {storage: 1Gb}}}}]}\n", "spec: {serviceName: 1, volumeClaimTemplates: [{metadata: {name: 1}, spec: {storageClassName: 1, resources: {requests: {storage: 10}}}}]}\n")
	add("DeploymentConfig", "spec: {test: no, triggers: [{type: ConfigChange}], template: {metadata: {labels: {a: on}}}}\n", "spec: {strategy: {customParams: {environment: [{name: A, value: 1}]}}}\n")
	add("ReplicationController", "spec: {selector: {a: 1}, template: {metadata: {labels: {a: 1}}}}\n")
	add("Job", "spec: {podFailurePolicy: {rules: [{action: 1, onExitCodes: {operator: In, values: [1, 2]}}]}, backoffLimit: 3}\n", "spec: {podFailurePolicy: {rules: [{onExitCodes: {values: [\"1\"]}}]}}\n")
	return append(out, random()...)
}

// random makes pods of random fields with random scalars.
func random() []Whole {
	source := rand.New(rand.NewPCG(7, 11))
	pick := func(items ...string) string { return items[source.IntN(len(items))] }
	scalar := func() string {
		return pick("a", "1", "true", "no", "~", "017", "1.5", "0.10", "1e3", "\"x\"", "'5'", "2001-01-01", "1_0", "500m", "0x1F", ".5", "-0", "+1", "1e6", "12345678.9")
	}
	key := func(name string) string {
		switch source.IntN(12) {
		case 0:
			return strings.ToUpper(name[:1]) + name[1:]
		case 1:
			return strings.ToLower(name)
		}
		return name
	}
	list := func(most int, item func() string) string {
		items := make([]string, source.IntN(most+1))
		for i := range items {
			items[i] = item()
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	mapping := func(most int) string {
		items := make([]string, source.IntN(most+1))
		for i := range items {
			items[i] = fmt.Sprintf("%c: %s", 'a'+rune(i), scalar())
		}
		return "{" + strings.Join(items, ", ") + "}"
	}
	object := func(least int, fields ...func() string) string {
		var items []string
		for _, at := range source.Perm(len(fields))[:least+source.IntN(len(fields)-least+1)] {
			items = append(items, fields[at]())
		}
		return "{" + strings.Join(items, ", ") + "}"
	}
	field := func(name string, value func() string) func() string {
		return func() string { return key(name) + ": " + value() }
	}
	env := func() string {
		return object(1, field("name", scalar), field("value", scalar))
	}
	container := func() string {
		return object(1, field("name", scalar), field("image", scalar), field("args", func() string { return list(4, scalar) }), field("command", func() string { return list(2, scalar) }),
			field("env", func() string { return list(3, env) }), field("workingDir", scalar), field("tty", func() string { return pick("true", "no", "~") }),
			field("volumeMounts", func() string {
				return list(2, func() string {
					return object(1, field("name", scalar), field("mountPath", scalar), field("subPath", scalar))
				})
			}))
	}
	var out []Whole
	for range 700 {
		text := object(1,
			field("metadata", func() string {
				return object(1, field("name", scalar), field("namespace", scalar), field("labels", func() string { return mapping(4) }), field("annotations", func() string { return mapping(4) }))
			}),
			field("spec", func() string {
				return object(1, field("containers", func() string { return list(3, container) }), field("nodeSelector", func() string { return mapping(3) }), field("serviceAccountName", scalar), field("hostNetwork", func() string { return pick("true", "no", "~", "yes") }),
					field("priorityClassName", scalar), field("terminationGracePeriodSeconds", func() string { return pick("5", "1.0", "017", "~") }))
			}))
		out = append(out, Whole{Kind: "Pod", Text: text})
	}
	return out
}
