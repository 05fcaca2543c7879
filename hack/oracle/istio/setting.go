package main

import (
	"fmt"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/config/memory"
	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pkg/cluster"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	"istio.io/istio/pkg/config/schema/collections"
	common "istio.io/istio/pkg/features"
	"istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/kube/inject"
	"istio.io/istio/pkg/kube/multicluster"
	"istio.io/istio/pkg/platform"
)

// setting is a configuration: the texts of Istio's ConfigMaps, and what istiod is told or finds in the cluster.
type setting struct {
	// Config and Values are the keys of the injector's ConfigMap, Mesh the key of the mesh's.
	Config string `json:"config"`
	Values string `json:"values"`
	Mesh   string `json:"mesh"`

	Revision         string            `json:"revision"`
	NativeSidecars   bool              `json:"nativeSidecars"`
	Platform         string            `json:"platform"`
	CompliancePolicy string            `json:"compliancePolicy"`
	Env              map[string]string `json:"env"`
	// Namespaces exist in the cluster that the values name.
	Namespaces []namespace `json:"namespaces"`
	// ProxyConfigs is a text of ProxyConfig resources.
	ProxyConfigs string `json:"proxyConfigs"`
}

type namespace struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// installed is a configuration in use.
type installed struct {
	setting *setting
	config  inject.Config
	values  inject.ValuesConfig
	mux     *http.ServeMux
}

// fixed is a configuration that never changes.
type fixed struct {
	config *inject.Config
	values string
}

func (fixed) SetHandler(func(*inject.Config, string) error) {}
func (fixed) Run(<-chan struct{})                           {}
func (f fixed) Get() (*inject.Config, string, error)        { return f.config, f.values, nil }

// The stop channel of the fake clusters; they end with the process.
var forever = make(chan struct{})

func (s *setting) install() (*installed, error) {
	config, err := inject.UnmarshalConfig([]byte(s.Config))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	values, err := inject.NewValuesConfig(s.Values)
	if err != nil {
		return nil, fmt.Errorf("values: %w", err)
	}
	meshConfig, err := mesh.ApplyMeshConfigDefaults(s.Mesh)
	if err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}

	s.put()
	store := memory.Make(collections.Pilot)
	resources, _, err := crd.ParseInputs(s.ProxyConfigs)
	if err != nil {
		return nil, fmt.Errorf("proxyConfigs: %w", err)
	}
	for _, resource := range resources {
		if _, err := store.Create(resource); err != nil {
			return nil, fmt.Errorf("proxyConfigs: %w", err)
		}
	}
	env := &model.Environment{ConfigStore: store, Watcher: meshwatcher.NewTestWatcher(meshConfig)}
	env.SetPushContext(&model.PushContext{ProxyConfigs: model.GetProxyConfigs(store, meshConfig)})

	multi := multicluster.NewFakeController()
	mux := http.NewServeMux()
	// With the feature on or off nothing is asked of the nodes, and with it off the webhook needs no list of them.
	features.EnableNativeSidecars = features.NativeSidecarModeDisabled
	_, err = inject.NewWebhook(inject.WebhookParameters{
		Watcher:      fixed{&config, s.Values},
		Env:          env,
		Mux:          mux,
		Revision:     s.Revision,
		MultiCluster: multi,
	})
	if err != nil {
		return nil, err
	}
	if platform.IsOpenShift() {
		s.addCluster(multi, values)
	}
	return &installed{s, config, values, mux}, nil
}

// addCluster makes the namespaces known under the name that the values give the cluster.
func (s *setting) addCluster(multi *multicluster.Fake, values inject.ValuesConfig) {
	var objects []runtime.Object
	for _, namespace := range s.Namespaces {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: namespace.Name, Labels: namespace.Labels, Annotations: namespace.Annotations,
		}})
	}
	client := kube.NewFakeClient(objects...)
	name := values.Struct().GetGlobal().GetMultiCluster().GetClusterName()
	if name == "" {
		name = constants.DefaultClusterName
	}
	multi.Add(cluster.ID(name), client, forever)
	client.RunAndWait(forever)
}

var environment = map[string]string{}

// put sets Istio's process-wide state.
func (s *setting) put() {
	var mode features.NativeSidecarMode = features.NativeSidecarModeDisabled
	if s.NativeSidecars {
		mode = features.NativeSidecarModeEnabled
	}
	features.EnableNativeSidecars = mode
	common.CompliancePolicy = s.CompliancePolicy
	for key := range environment {
		os.Unsetenv(key)
	}
	environment = map[string]string{platform.Platform.Name: s.Platform}
	for key, value := range s.Env {
		environment[key] = value
	}
	for key, value := range environment {
		os.Setenv(key, value)
	}
}
