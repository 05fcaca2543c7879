package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/kube/inject"
)

// canonical decodes and encodes a pod: the result has no unknown field, no wrong type and no meaningless zero.
func canonical(pod json.RawMessage) answer {
	var decoded corev1.Pod
	if err := json.Unmarshal(pod, &decoded); err != nil {
		return answer{Error: "canonical: " + err.Error()}
	}
	encoded, err := json.Marshal(decoded)
	if err != nil {
		return answer{Error: "canonical: " + err.Error()}
	}
	return answer{Canonical: encoded}
}

// review sends the pod to the webhook's handler and applies the patch as the API server does.
func (i *installed) review(pod json.RawMessage, namespace, path string) answer {
	i.setting.put()
	review := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID:       "1",
			Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
			Resource:  metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Namespace: namespace,
			Operation: admissionv1.Create,
			Object:    runtime.RawExtension{Raw: pod},
		},
	}
	body, err := json.Marshal(review)
	if err != nil {
		return answer{Error: "review: " + err.Error()}
	}
	if path == "" {
		path = "/inject"
	}
	sent, err := http.NewRequest(http.MethodPost, "http://istiod"+path, bytes.NewReader(body))
	if err != nil {
		return answer{Error: "path: " + err.Error()}
	}
	sent.Header.Set("Content-Type", "application/json")
	got := httptest.NewRecorder()
	i.mux.ServeHTTP(got, sent)
	if got.Code != http.StatusOK {
		return answer{Error: got.Result().Status + ": " + strings.TrimSpace(got.Body.String())}
	}
	var received admissionv1.AdmissionReview
	if err := json.Unmarshal(got.Body.Bytes(), &received); err != nil {
		return answer{Error: "response: " + err.Error()}
	}
	response := received.Response
	if response == nil {
		return answer{Error: "response: there is none"}
	}
	result := answer{Allowed: &response.Allowed}
	if response.Result != nil {
		result.Message = response.Result.Message
	}
	if len(response.Patch) == 0 {
		return result
	}
	patch, err := jsonpatch.DecodePatch(response.Patch)
	if err != nil {
		return answer{Error: "patch: " + err.Error()}
	}
	if result.Patched, err = patch.Apply(pod); err != nil {
		return answer{Error: "patch: " + err.Error()}
	}
	return result
}

// manifest does what `istioctl kube-inject` does with local files.
func (i *installed) manifest(text, revision string) answer {
	i.setting.put()
	meshConfig, err := mesh.ApplyMeshConfigDefaults(i.setting.Mesh)
	if err != nil {
		return answer{Error: "mesh: " + err.Error()}
	}
	var written bytes.Buffer
	var result answer
	warn := func(warning string) { result.Warnings = append(result.Warnings, warning) }
	err = inject.IntoResourceFile(nil, i.config.Templates, i.values, revision, meshConfig, strings.NewReader(text), &written, warn)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	injected := written.String()
	result.Injected = &injected
	return result
}
