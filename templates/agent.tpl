{{- /*
  Pieces shared by every template whose container runs the Istio agent. They stand in front of each embedded template.

  Conventions, here and in the templates:
    - a string that can come from a pod is printed through `quote`, so that it can never become YAML structure;
    - the pieces print list items at the indentation of a container that is an item of `spec.containers` (four spaces);
    - the order of `env`, `args`, `volumeMounts` and `volumes` is part of what the data plane's users compare: keep it.
*/ -}}

{{- /* The proxy's image: the annotation if it is a whole reference (it has a slash), else hub, name and tag from the values. */ -}}
{{- define "agent.image" }}
  {{- $asked := annotation .ObjectMeta `sidecar.istio.io/proxyImage` .Values.global.proxy.image }}
  {{- ternary $asked .ProxyImage (contains "/" $asked) | quote }}
{{- end }}

{{- /* Requests and limits: one annotation of the four replaces the whole block of the values. */ -}}
{{- define "agent.resources" }}
  {{- $a := .ObjectMeta.Annotations }}
  {{- $requested := or (isset $a `sidecar.istio.io/proxyCPU`) (isset $a `sidecar.istio.io/proxyMemory`) }}
  {{- $limited := or (isset $a `sidecar.istio.io/proxyCPULimit`) (isset $a `sidecar.istio.io/proxyMemoryLimit`) }}
  {{- if or $requested $limited }}
    resources:
    {{- if $requested }}
      requests:
      {{- with index $a `sidecar.istio.io/proxyCPU` }}
        cpu: {{ quote . }}
      {{- end }}
      {{- with index $a `sidecar.istio.io/proxyMemory` }}
        memory: {{ quote . }}
      {{- end }}
    {{- end }}
    {{- if $limited }}
      limits:
      {{- with index $a `sidecar.istio.io/proxyCPULimit` }}
        cpu: {{ quote . }}
      {{- end }}
      {{- with index $a `sidecar.istio.io/proxyMemoryLimit` }}
        memory: {{ quote . }}
      {{- end }}
    {{- end }}
  {{- else if .Values.global.proxy.resources }}
    resources: {{- toYaml (omitNil .Values.global.proxy.resources) | nindent 6 }}
  {{- end }}
{{- end }}

{{- /* Flags that every mode of the agent takes. */ -}}
{{- define "agent.flags" }}
    - --domain
    - $(POD_NAMESPACE).svc.{{ .Values.global.proxy.clusterDomain }}
    - {{ annotation .ObjectMeta `sidecar.istio.io/logLevel` .Values.global.proxy.logLevel | printf "--proxyLogLevel=%s" | quote }}
    - {{ annotation .ObjectMeta `sidecar.istio.io/componentLogLevel` .Values.global.proxy.componentLogLevel | printf "--proxyComponentLogLevel=%s" | quote }}
    - {{ template "agent.logLevel" . }}
    {{- with .Values.global.sts.servicePort }}
    - --stsPort={{ . }}
    {{- end }}
    {{- if .Values.global.logAsJson }}
    - --log_as_json
    {{- end }}
{{- end }}

{{- define "agent.logLevel" }}
  {{- annotation .ObjectMeta `sidecar.istio.io/agentLogLevel` .Values.global.logging.level | printf "--log_output_level=%s" | quote }}
{{- end }}

{{- define "agent.pullPolicy" }}
  {{- with .Values.global.imagePullPolicy }}
    imagePullPolicy: {{ quote . }}
  {{- end }}
{{- end }}

{{- /* When the agent counts as ready. A zero is what Kubernetes calls "not set", so it is not written. */ -}}
{{- define "agent.readiness" }}
  {{- $proxy := .Values.global.proxy }}
  {{- $delay := annotation .ObjectMeta `readiness.status.sidecar.istio.io/initialDelaySeconds` $proxy.readinessInitialDelaySeconds }}
  {{- $period := annotation .ObjectMeta `readiness.status.sidecar.istio.io/periodSeconds` $proxy.readinessPeriodSeconds }}
  {{- $failures := annotation .ObjectMeta `readiness.status.sidecar.istio.io/failureThreshold` $proxy.readinessFailureThreshold }}
  {{- if ne $delay "0" }}
      initialDelaySeconds: {{ $delay }}
  {{- end }}
  {{- if ne $period "0" }}
      periodSeconds: {{ $period }}
  {{- end }}
  {{- if ne $failures "0" }}
      failureThreshold: {{ $failures }}
  {{- end }}
{{- end }}

{{- /* Who signs, and who the pod is: everything the agent needs before it can ask for a certificate. */ -}}
{{- define "agent.env.identity" }}
    - name: PILOT_CERT_PROVIDER
      value: {{ quote .Values.global.pilotCertProvider }}
    - name: CA_ADDR
    {{- with .Values.global.caAddress }}
      value: {{ quote . }}
    {{- else }}
      value: istiod{{ with .Values.revision }}-{{ . }}{{ end }}.{{ .Values.global.istioNamespace }}.svc:15012
    {{- end }}
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    - name: POD_NAMESPACE
      valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
    - name: INSTANCE_IP
      valueFrom: {fieldRef: {fieldPath: status.podIP}}
    - name: SERVICE_ACCOUNT
      valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}
    - name: HOST_IP
      valueFrom: {fieldRef: {fieldPath: status.hostIP}}
{{- end }}

{{- define "agent.env.cpu" }}
    - name: ISTIO_CPU_LIMIT
      valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: "1"}}
{{- end }}

{{- /* What the agent is told about itself and about the pod's ports. */ -}}
{{- define "agent.env.config" }}
    - name: PROXY_CONFIG
      value: |
        {{ protoToJSON .ProxyConfig }}
    - name: ISTIO_META_POD_PORTS
      value: |-
        [
        {{- $separator := "" }}
        {{- range .Spec.Containers }}
          {{- range .Ports }}
            {{- $separator }}{{ structToJSON . }}
            {{- $separator = "," }}
          {{- end }}
        {{- end -}}
        ]
{{- end }}

{{- define "agent.env.containers" }}
  {{- $names := list }}
  {{- range .Spec.Containers }}
    {{- if ne .Name "istio-proxy" }}
      {{- $names = append $names .Name }}
    {{- end }}
  {{- end }}
    - name: ISTIO_META_APP_CONTAINERS
      value: {{ join "," $names | quote }}
{{- end }}

{{- define "agent.env.runtime" }}
    - name: GOMEMLIMIT
      valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: "1"}}
    {{- with .CompliancePolicy }}
    - name: COMPLIANCE_POLICY
      value: {{ quote . }}
    {{- if eq . "fips-140-3" }}
    - name: GODEBUG
      value: "fips140=only"
    {{- end }}
    {{- end }}
{{- end }}

{{- define "agent.env.cluster" }}
    - name: ISTIO_META_CLUSTER_ID
      value: {{ valueOrDefault .Values.global.multiCluster.clusterName "Kubernetes" | quote }}
    - name: ISTIO_META_NODE_NAME
      valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
{{- end }}

{{- define "agent.env.network" }}
    {{- with .Values.global.network }}
    - name: ISTIO_META_NETWORK
      value: {{ quote . }}
    {{- end }}
{{- end }}

{{- /* The workload a pod belongs to, as the telemetry names it. */ -}}
{{- define "agent.env.workload" }}
    {{- with .DeploymentMeta.Name }}
    - name: ISTIO_META_WORKLOAD_NAME
      value: {{ quote . }}
    {{- end }}
{{- end }}

{{- define "agent.env.owner" }}
    {{- if and .TypeMeta.APIVersion .DeploymentMeta.Name }}
    - name: ISTIO_META_OWNER
      value: {{ printf "kubernetes://apis/%s/namespaces/%s/%ss/%s" .TypeMeta.APIVersion (valueOrDefault .DeploymentMeta.Namespace "default") (toLower .TypeMeta.Kind) .DeploymentMeta.Name | quote }}
    {{- end }}
{{- end }}

{{- define "agent.env.bootstrap" }}
    {{- if isset .ObjectMeta.Annotations `sidecar.istio.io/bootstrapOverride` }}
    - name: ISTIO_BOOTSTRAP_OVERRIDE
      value: /etc/istio/custom-bootstrap/custom_bootstrap.json
    {{- end }}
{{- end }}

{{- /* The mesh a pod belongs to: its own ID if it has one, else the trust domain names it. */ -}}
{{- define "agent.env.mesh" }}
    {{- $domain := valueOrDefault .MeshConfig.TrustDomain .Values.global.trustDomain }}
    {{- with .Values.global.meshID | default $domain }}
    - name: ISTIO_META_MESH_ID
      value: {{ quote . }}
    {{- end }}
    {{- with $domain }}
    - name: TRUST_DOMAIN
      value: {{ quote . }}
    {{- end }}
{{- end }}

{{- /* Free settings of the mesh or the pod: ProxyConfig.proxyMetadata. */ -}}
{{- define "agent.env.metadata" }}
    {{- range $name, $value := .ProxyConfig.ProxyMetadata }}
    - name: {{ quote $name }}
      value: {{ quote $value }}
    {{- end }}
{{- end }}

{{- /* The workload certificate: from Google's CSI driver or written by the agent itself. */ -}}
{{- define "agent.mounts.certificate" }}
    {{- if eq .Values.global.caName "GkeWorkloadCertificate" }}
    - name: gke-workload-certificate
      mountPath: /var/run/secrets/workload-spiffe-credentials
      readOnly: true
    {{- else }}
    - name: workload-certs
      mountPath: /var/run/secrets/workload-spiffe-credentials
    {{- end }}
{{- end }}

{{- define "agent.mounts.root" }}
    {{- if eq .Values.global.pilotCertProvider "istiod" }}
    - name: istiod-ca-cert
      mountPath: /var/run/secrets/istio
    {{- end }}
{{- end }}

{{- define "agent.mounts.bootstrap" }}
    {{- if isset .ObjectMeta.Annotations `sidecar.istio.io/bootstrapOverride` }}
    - name: custom-bootstrap-volume
      mountPath: /etc/istio/custom-bootstrap
    {{- end }}
{{- end }}

{{- /* The token that proves the pod's identity, mounted certificates where a mesh has them, and the pod's own metadata. */ -}}
{{- define "agent.mounts.token" }}
    - name: istio-token
      mountPath: /var/run/secrets/tokens
    {{- if .Values.global.mountMtlsCerts }}
    - name: istio-certs
      mountPath: /etc/certs/
      readOnly: true
    {{- end }}
    - name: istio-podinfo
      mountPath: /etc/istio/pod
{{- end }}

{{- /* Mounts the user asks for: a JSON object from volume name to mount. */ -}}
{{- define "agent.mounts.user" }}
    {{- with index .ObjectMeta.Annotations `sidecar.istio.io/userVolumeMount` }}
    {{- range $name, $mount := fromJSON . }}
    - name: {{ quote $name }}
      {{- toYaml $mount | nindent 6 }}
    {{- end }}
    {{- end }}
{{- end }}

{{- define "agent.volumes.bootstrap" }}
  {{- with index .ObjectMeta.Annotations `sidecar.istio.io/bootstrapOverride` }}
  - name: custom-bootstrap-volume
    configMap:
      name: {{ quote . }}
  {{- end }}
{{- end }}

{{- define "agent.volumes.identity" }}
  - name: istio-data
    emptyDir: {}
  - name: istio-podinfo
    downwardAPI:
      items:
      - path: labels
        fieldRef: {fieldPath: metadata.labels}
      - path: annotations
        fieldRef: {fieldPath: metadata.annotations}
  - name: istio-token
    projected:
      sources:
      - serviceAccountToken:
          path: istio-token
          expirationSeconds: 43200
          audience: {{ quote .Values.global.sds.token.aud }}
  {{- if eq .Values.global.pilotCertProvider "istiod" }}
  - name: istiod-ca-cert
  {{- if eq (.Values.pilot.env).ENABLE_CLUSTER_TRUST_BUNDLE_API true }}
    projected:
      sources:
      - clusterTrustBundle:
          name: istio.io:istiod-ca:{{ .Values.global.trustBundleName | default "root-cert" }}
          path: root-cert.pem
  {{- else }}
    configMap:
      name: {{ .Values.global.trustBundleName | default "istio-ca-root-cert" | quote }}
  {{- end }}
  {{- end }}
{{- end }}

{{- define "agent.volumes.mtls" }}
  {{- if .Values.global.mountMtlsCerts }}
  - name: istio-certs
    secret:
      optional: true
      secretName: {{ .Spec.ServiceAccountName | default "default" | printf "istio.%s" | quote }}
  {{- end }}
{{- end }}

{{- /* Volumes the user asks for: a JSON object from name to volume source. */ -}}
{{- define "agent.volumes.user" }}
  {{- with index .ObjectMeta.Annotations `sidecar.istio.io/userVolume` }}
  {{- range $name, $source := fromJSON . }}
  - name: {{ quote $name }}
    {{- toYaml $source | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}

{{- define "agent.pullSecrets" }}
  {{- with .Values.global.imagePullSecrets }}
  imagePullSecrets:
  {{- range . }}
  - name: {{ quote . }}
  {{- end }}
  {{- end }}
{{- end }}

{{- /* The labels telemetry and policy group by. Value given: the canonical name. */ -}}
{{- define "agent.canonicalRevision" }}
  {{- $l := .ObjectMeta.Labels }}
  {{- coalesce (index $l `service.istio.io/canonical-revision`) (index $l `app.kubernetes.io/version`) (index $l `version`) "latest" | quote }}
{{- end }}

{{- /* Which container `kubectl logs` and `kubectl exec` mean: the first one that is not the proxy, unless the user said so. */ -}}
{{- define "agent.annotations" }}
    istio.io/rev: {{ .Revision | default "default" | quote }}
    {{- $first := "" }}
    {{- range .Spec.Containers }}
      {{- if and (not $first) (ne .Name "istio-proxy") }}
        {{- $first = .Name }}
      {{- end }}
    {{- end }}
    {{- if $first }}
    {{- range list `kubectl.kubernetes.io/default-logs-container` `kubectl.kubernetes.io/default-container` }}
    {{- if not (isset $.ObjectMeta.Annotations .) }}
    {{ . }}: {{ quote $first }}
    {{- end }}
    {{- end }}
    {{- end }}
{{- end -}}
