package main

import (
	"encoding/json"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	podregistry "k8s.io/kubernetes/pkg/registry/core/pod"
)

const namespace = "shop"

// admit does what an API server does to a pod that is created: decodes it with defaults, asks the strategy of the
// registry, which calls ValidatePodCreate with the options of this version, and validates metadata.
func admit(text []byte) answer {
	decoded, err := runtime.Decode(legacyscheme.Codecs.UniversalDecoder(), text)
	if err != nil {
		return answer{Error: err.Error()}
	}
	pod, ok := decoded.(*core.Pod)
	if !ok {
		return answer{Error: "not a pod"}
	}
	if pod.Namespace == "" {
		pod.Namespace = namespace
	}
	if pod.Spec.ServiceAccountName == "" {
		// As the admission plugin ServiceAccount does, before any webhook is asked.
		pod.Spec.ServiceAccountName = "default"
	}
	sent, err := runtime.Encode(legacyscheme.Codecs.LegacyCodec(corev1.SchemeGroupVersion), pod)
	if err != nil {
		return answer{Error: err.Error()}
	}
	ctx := genericrequest.WithNamespace(genericrequest.NewContext(), pod.Namespace)
	ctx = genericrequest.WithRequestInfo(ctx, &genericrequest.RequestInfo{
		IsResourceRequest: true, Verb: "create", APIVersion: "v1", Resource: "pods", Namespace: pod.Namespace,
	})
	rest.FillObjectMetaSystemFields(&pod.ObjectMeta)
	if pod.Name == "" && pod.GenerateName != "" {
		// The registry makes the name at random; here the same question has the same answer.
		pod.Name = pod.GenerateName[:min(len(pod.GenerateName), 58)] + "x7k2p"
	}
	result := answer{}
	if err := rest.BeforeCreate(podregistry.Strategy, ctx, pod); err != nil {
		result.Invalid = causes(err)
	}
	return withText(result, sent)
}

// causes is what is wrong, a sentence each.
func causes(err error) []string {
	var status *apierrors.StatusError
	if errors.As(err, &status) && status.ErrStatus.Details != nil && len(status.ErrStatus.Details.Causes) > 0 {
		var all []string
		for _, cause := range status.ErrStatus.Details.Causes {
			all = append(all, cause.Field+": "+cause.Message)
		}
		return all
	}
	return []string{err.Error()}
}

// withText puts the pod into the answer, without what an API server fills in for each object anew.
func withText(result answer, sent []byte) answer {
	var pod map[string]any
	if err := json.Unmarshal(sent, &pod); err != nil {
		return answer{Error: err.Error()}
	}
	delete(pod, "status")
	if metadata, ok := pod["metadata"].(map[string]any); ok {
		delete(metadata, "creationTimestamp")
	}
	text, err := json.Marshal(pod)
	if err != nil {
		return answer{Error: err.Error()}
	}
	whole := string(text)
	result.Text = &whole
	return result
}
