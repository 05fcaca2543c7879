{{/*
What the entries of a MutatingWebhookConfiguration select, as JSON: {entries: [{prefix, namespace: […], object: […]}]}.
The rules are Istio's, so that labels mean the same; one list serves the webhooks and the validating policy.

  namespace label istio-injection | namespace label istio.io/rev | pod label istio.io/rev | entry
  absent                          | this revision                | any                    | rev.namespace.
  absent                          | absent                       | this revision          | rev.object.
  enabled                         | any                          | any                    | namespace.  (default revision)
  absent                          | absent                       | absent, inject: true   | object.     (default revision)
  absent                          | absent                       | absent, no inject      | auto.       (everywhere)
*/}}
{{- define "outrigger.entries" -}}
{{- $injection := "istio-injection" -}}
{{- $rev := "istio.io/rev" -}}
{{- $inject := "sidecar.istio.io/inject" -}}
{{- $enabled := dict "key" $injection "operator" "In" "values" (list "enabled") -}}
{{- $noInjection := dict "key" $injection "operator" "DoesNotExist" -}}
{{- $noRev := dict "key" $rev "operator" "DoesNotExist" -}}
{{- $ours := dict "key" $rev "operator" "In" "values" (list .revision) -}}
{{- $notOptedOut := dict "key" $inject "operator" "NotIn" "values" (list "false") -}}
{{- $optedIn := dict "key" $inject "operator" "In" "values" (list "true") -}}
{{- $noWish := dict "key" $inject "operator" "DoesNotExist" -}}
{{- $entries := list -}}
{{- if .auto -}}
{{- $entries = append $entries (dict "prefix" "auto." "namespace" (list $noInjection $noRev) "object" (list $noWish $noRev)) -}}
{{- else -}}
{{- $entries = append $entries (dict "prefix" "rev.namespace." "namespace" (list $ours $noInjection) "object" (list $notOptedOut)) -}}
{{- $entries = append $entries (dict "prefix" "rev.object." "namespace" (list $noRev $noInjection) "object" (list $notOptedOut $ours)) -}}
{{- end -}}
{{- if .default -}}
{{- $entries = append $entries (dict "prefix" "namespace." "namespace" (list $enabled) "object" (list $notOptedOut)) -}}
{{- $entries = append $entries (dict "prefix" "object." "namespace" (list $noInjection $noRev) "object" (list $optedIn $noRev)) -}}
{{- end -}}
{{- dict "entries" $entries | mustToJson -}}
{{- end -}}

{{/* Namespaces that are never selected: the cluster's, ours (the first replica must be creatable), and the given ones. */}}
{{- define "outrigger.never" -}}
{{- $names := concat (list "kube-system" "kube-public" "kube-node-lease" "local-path-storage" .Release.Namespace) .Values.webhook.excludedNamespaces | uniq -}}
{{- list (dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" $names) | mustToJson -}}
{{- end -}}

{{/* Pods that would be skipped anyway, and are not worth a request, as a JSON list. */}}
{{- define "outrigger.conditions" -}}
{{- $conditions := list -}}
{{- if .root.Values.webhook.matchConditions.preset -}}
{{- $conditions = append $conditions (dict "name" "not-on-the-host-network" "expression" "!has(object.spec.hostNetwork) || !object.spec.hostNetwork") -}}
{{- if eq .root.Values.configuration.compat "outrigger" -}}
{{- $conditions = append $conditions (dict "name" "not-a-mirror-pod" "expression" "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)") -}}
{{- end -}}
{{- end -}}
{{- concat $conditions .root.Values.webhook.matchConditions.extra | mustToJson -}}
{{- end -}}

{{/* A caBundle: PEM is encoded, base64 is taken. */}}
{{- define "outrigger.caBundle" -}}
{{- contains "-----BEGIN" . | ternary (. | b64enc) (. | nospace) -}}
{{- end -}}
