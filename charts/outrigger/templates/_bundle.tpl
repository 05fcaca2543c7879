{{/*
The bundle: the values about injection and the chart's own decisions; the server has the other defaults.
As in the istiod chart, some values become the injector's configuration and some become MeshConfig.
*/}}
{{- define "outrigger.bundle" -}}
{{- $v := .root.Values -}}
{{- $o := .facts -}}
{{- $global := $o.global -}}
{{- $webhook := $o.sidecarInjectorWebhook -}}
{{- $configured := list "templates" "defaultTemplates" "neverInjectSelector" "alwaysInjectSelector" "injectedAnnotations" -}}

{{- $injector := dict -}}
{{- with ($global.proxy).autoInject }}{{ $_ := set $injector "policy" . }}{{ end -}}
{{- range $key := $configured -}}
{{- with index $webhook $key }}{{ $_ := set $injector $key . }}{{ end -}}
{{- end -}}
{{- with $v.configuration.aliases }}{{ $_ := set $injector "aliases" . }}{{ end -}}

{{- $values := dict -}}
{{- with $o.revision }}{{ $_ := set $values "revision" . }}{{ end -}}
{{- with $o.tags }}{{ $_ := set $values "revisionTags" . }}{{ end -}}
{{- with $global }}{{ $_ := set $values "global" . }}{{ end -}}
{{- $rest := $webhook -}}
{{- range $key := $configured }}{{ $rest = omit $rest $key }}{{ end -}}
{{- with $rest }}{{ $_ := set $values "sidecarInjectorWebhook" . }}{{ end -}}
{{- with $o.pilot }}{{ $_ := set $values "pilot" . }}{{ end -}}
{{- with pick $o.gateways "securityContext" "seccompProfile" }}{{ $_ := set $values "gateways" . }}{{ end -}}

{{- $bundle := dict "apiVersion" "outrigger.dev/v1alpha1" "kind" "Bundle" "revision" $o.revisionName "compat" $v.configuration.compat "nativeSidecars" $o.nativeSidecars -}}
{{- with $injector }}{{ $_ := set $bundle "injector" . }}{{ end -}}
{{- with $values }}{{ $_ := set $bundle "values" . }}{{ end -}}
{{- with include "outrigger.mesh" . | fromJson }}{{ $_ := set $bundle "mesh" . }}{{ end -}}
{{- with $o.platform }}{{ $_ := set $bundle "platform" . }}{{ end -}}
{{- with $o.compliancePolicy }}{{ $_ := set $bundle "compliancePolicy" . }}{{ end -}}
{{- with $o.templateEnv }}{{ $_ := set $bundle "env" . }}{{ end -}}
{{- mustMergeOverwrite $bundle $v.configuration.bundle | toYaml -}}
{{- end -}}

{{/* MeshConfig, as JSON: computed from the values, below the explicit settings. */}}
{{- define "outrigger.mesh" -}}
{{- $o := .facts -}}
{{- $global := $o.global -}}
{{- $proxy := $global.proxy | default dict -}}
{{- $config := dict -}}
{{- if or $o.revision (ne $o.istioNamespace "istio-system") $global.remotePilotAddress -}}
{{- $istiod := empty $o.revision | ternary "istiod" (printf "istiod-%s" $o.revision) -}}
{{- if $global.remotePilotAddress -}}
{{- $istiod = "istiod" -}}
{{- /* `and` is nil where the first of them is not given. */ -}}
{{- if and $o.istiodRemote.enabled $o.istiodRemote.enabledLocalInjectorIstiod }}{{ $istiod = "istiod-remote" }}{{ end -}}
{{- end -}}
{{- $_ := set $config "discoveryAddress" (printf "%s.%s.svc:15012" $istiod $o.istioNamespace) -}}
{{- end -}}
{{- with $global.meshID }}{{ $_ := set $config "meshId" . }}{{ end -}}
{{- with $proxy.variant | default $global.variant }}{{ $_ := set $config "image" (dict "imageType" .) }}{{ end -}}
{{- $tracer := $global.tracer | default dict -}}
{{- $tracing := dict -}}
{{- if eq ($proxy.tracer | default "none") "zipkin" -}}
{{- $_ := set $tracing "zipkin" (dict "address" (($tracer.zipkin).address | default (printf "zipkin.%s:9411" $o.istioNamespace))) -}}
{{- else if eq $proxy.tracer "datadog" -}}
{{- $_ := set $tracing "datadog" (dict "address" (($tracer.datadog).address | default "$(HOST_IP):8126")) -}}
{{- else if eq $proxy.tracer "lightstep" -}}
{{- $_ := set $tracing "lightstep" (dict "address" (($tracer.lightstep).address | default "") "accessToken" (($tracer.lightstep).accessToken | default "")) -}}
{{- else if eq $proxy.tracer "stackdriver" -}}
{{- $stackdriver := $tracer.stackdriver | default dict -}}
{{- $_ := set $tracing "stackdriver" (dict
  "debug" ($stackdriver.debug | default false)
  "maxNumberOfAttributes" ($stackdriver.maxNumberOfAttributes | default 200)
  "maxNumberOfAnnotations" ($stackdriver.maxNumberOfAnnotations | default 200)
  "maxNumberOfMessageEvents" ($stackdriver.maxNumberOfMessageEvents | default 200)) -}}
{{- end -}}
{{- with $tracing }}{{ $_ := set $config "tracing" . }}{{ end -}}
{{- $mesh := dict -}}
{{- with $config }}{{ $_ := set $mesh "defaultConfig" . }}{{ end -}}
{{- if ne $o.istioNamespace "istio-system" }}{{ $_ := set $mesh "rootNamespace" $o.istioNamespace }}{{ end -}}
{{- mustMergeOverwrite $mesh $o.meshConfig | mustToJson -}}
{{- end -}}
