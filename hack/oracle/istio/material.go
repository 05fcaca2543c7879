package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"istio.io/istio/manifests"
	"sigs.k8s.io/yaml"
)

// material is what Istio's module brings along.
type material struct {
	// Version is what the module's file VERSION says.
	Version   string            `json:"version"`
	Templates map[string]string `json:"templates"`
	// Values is what its chart writes into the injector's ConfigMap without any values of a user's.
	Values map[string]any `json:"values"`
	// Inputs are the manifests its tests inject, by file name.
	Inputs map[string]string `json:"inputs"`
}

const chart = "charts/istio-control/istio-discovery/"

// The files of the templates, by the name that the chart gives them.
var files = map[string]string{
	"sidecar":               "injection-template",
	"gateway":               "gateway-injection-template",
	"grpc-simple":           "grpc-simple",
	"grpc-agent":            "grpc-agent",
	"waypoint":              "waypoint",
	"kube-gateway":          "kube-gateway",
	"agentgateway":          "agentgateway",
	"agentgateway-waypoint": "agentgateway-waypoint",
}

func readMaterial(module string) (*material, error) {
	found := &material{Templates: map[string]string{}, Inputs: map[string]string{}}
	for name, file := range files {
		text, err := manifests.FS.ReadFile(chart + "files/" + file + ".yaml")
		if err != nil {
			return nil, err
		}
		found.Templates[name] = strings.TrimSpace(string(text)) + "\n"
	}
	var err error
	if found.Values, err = values(); err != nil {
		return nil, err
	}
	if module == "" {
		return found, nil
	}
	version, err := os.ReadFile(filepath.Join(module, "VERSION"))
	if err != nil {
		return nil, err
	}
	found.Version = strings.TrimSpace(string(version))
	inputs, err := filepath.Glob(filepath.Join(module, "pkg/kube/inject/testdata/inject/*.yaml"))
	if err != nil {
		return nil, err
	}
	for _, input := range inputs {
		text, err := os.ReadFile(input)
		if err != nil {
			return nil, err
		}
		found.Inputs[filepath.Base(input)] = string(text)
	}
	return found, nil
}

// values picks from the chart's values what the chart picks, see its template of the injector's ConfigMap.
func values() (map[string]any, error) {
	text, err := manifests.FS.ReadFile(chart + "values.yaml")
	if err != nil {
		return nil, err
	}
	var all map[string]map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	defaults := all["_internal_defaults_do_not_set"]
	if defaults == nil {
		return nil, fmt.Errorf("%svalues.yaml: the key of the defaults is not there", chart)
	}
	pick := func(from map[string]any, keys ...string) map[string]any {
		picked := map[string]any{}
		for _, key := range keys {
			if value, found := from[key]; found {
				picked[key] = value
			}
		}
		return picked
	}
	picked := pick(defaults, "global", "sidecarInjectorWebhook", "revision")
	picked["pilot"] = pick(defaults, "cni", "env")
	gateways, _ := defaults["gateways"].(map[string]any)
	picked["gateways"] = pick(gateways, "securityContext", "seccompProfile")
	// As it is in the ConfigMap.
	encoded, err := json.Marshal(picked)
	if err != nil {
		return nil, err
	}
	return picked, json.Unmarshal(encoded, &picked)
}
