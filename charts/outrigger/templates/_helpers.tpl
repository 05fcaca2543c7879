{{/*
Labels of every object. The revision is not in istio.io/rev: an istiod of that revision writes its own CA into every
webhook configuration with that label.
*/}}
{{- define "outrigger.labels" -}}
{{ include "outrigger.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
outrigger.dev/revision: {{ .facts.revisionName | quote }}
{{- end -}}

{{/* The selector of our pods; it never changes. */}}
{{- define "outrigger.selector" -}}
app.kubernetes.io/name: outrigger
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- end -}}

{{- define "outrigger.image" -}}
{{- /* Some istiod values files have a string here, the name of istiod's image. */ -}}
{{- $image := kindIs "map" .Values.image | ternary .Values.image dict -}}
{{- /* Without replicas there is nothing to pull. */ -}}
{{- $repository := $image.repository | default "" -}}
{{- if and (empty (trim $repository)) (or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 0)) -}}
{{- fail "image.repository: found nothing; no image of outrigger is published, so build one, push it to a registry that the nodes can pull from, and set its name:\n  docker build -f deploy/Dockerfile -t registry.example.com/outrigger:0.1.0 . && docker push registry.example.com/outrigger:0.1.0\n  helm … --set image.repository=registry.example.com/outrigger\ndocs/install.md has instructions for kind" -}}
{{- end -}}
{{- if contains "://" $repository -}}
{{- fail (printf "image.repository: found %q, which has a scheme; expected the part after it" $repository) -}}
{{- end -}}
{{- if regexMatch "(:[^/]*|@.*)$" $repository -}}
{{- fail (printf "image.repository: found %q, which has a tag or a digest; expected only the name: use image.tag and image.digest for these" $repository) -}}
{{- end -}}
{{- if regexMatch "[[:space:]]" $repository -}}
{{- fail (printf "image.repository: found %q, which contains a blank; expected the name of an image" $repository) -}}
{{- end -}}
{{- $tag := $image.tag | default .Chart.AppVersion | toString -}}
{{- if not (regexMatch "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$" $tag) -}}
{{- fail (printf "image.tag: found %q; expected letters, digits, dots, dashes and underscores, 128 at most" $tag) -}}
{{- end -}}
{{- $repository = $repository | default "outrigger" -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $repository $tag }}
{{- end -}}
{{- end -}}

{{/* A duration such as 1m30s, in milliseconds. */}}
{{- define "outrigger.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+[a-z]+" . -1 -}}
{{- $sum = addf $sum (mulf (regexFind "[0-9.]+" . | float64) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* The arguments of `outrigger`, as a JSON list. */}}
{{- define "outrigger.arguments" -}}
{{- $v := .root.Values -}}
{{- $o := .facts -}}
{{- $args := list "serve"
  (printf "--listen=[::]:%d" (int $v.server.webhookPort))
  (printf "--admin=%s:%d" (eq $v.server.adminListen "loopback" | ternary "127.0.0.1" "[::]") (int $v.server.adminPort))
  (printf "--log-format=%s" $v.server.logFormat)
  (printf "--drain-delay=%s" $v.server.drainDelay)
  (printf "--shutdown-grace=%s" $v.server.shutdownGrace)
  (printf "--tls-min-version=%s" $v.server.tlsMinVersion) -}}
{{- if $o.watches -}}
{{- $args = append $args (printf "--revision=%s" $o.revisionName) -}}
{{- if $o.ownBundle -}}
{{- $args = append $args (printf "--bundle-config-map=%s" $o.configMap) -}}
{{- else -}}
{{- $args = concat $args (list
  (printf "--istio-namespace=%s" $o.istioNamespace)
  (printf "--injector-config-map=%s" $o.injectorConfigMap)
  (printf "--mesh-config-map=%s" $o.meshConfigMap)) -}}
{{- end -}}
{{- $args = concat $args (list
  (printf "--watch-nodes=%t" $o.watchesNodes)
  (printf "--watch-proxy-configs=%t" $o.watchesProxyConfigs)
  (printf "--selection=%s" $v.configuration.selection)
  (printf "--workload-events=%t" $o.writesWorkloadEvents)) -}}
{{- else -}}
{{- $args = append $args "--config-dir=/etc/outrigger/configuration" -}}
{{- if not $o.usesApi }}{{ $args = append $args "--standalone" }}{{ end -}}
{{- end -}}
{{- if not $o.ownBundle -}}
{{- $args = concat $args (list
  (printf "--compat=%s" $v.configuration.compat)
  (printf "--platform=%s" ($o.platform | default "kubernetes"))
  (printf "--native-sidecars=%s" $o.nativeSidecars)) -}}
{{- if not $o.watches }}{{ $args = append $args (printf "--revision=%s" $o.revisionName) }}{{ end -}}
{{- with $o.compliancePolicy }}{{ $args = append $args (printf "--compliance-policy=%s" .) }}{{ end -}}
{{- range $key, $value := $o.templateEnv }}{{ $args = append $args (printf "--template-env=%s=%s" $key $value) }}{{ end -}}
{{- end -}}
{{- if $o.controls -}}
{{- $names := list -}}
{{- if $v.webhook.enabled }}{{ range $o.webhookConfigurations }}{{ $names = append $names .name }}{{ end }}{{ end -}}
{{- $args = concat $args (list
  "--certificate=controller"
  (printf "--service=%s" $o.name)
  (printf "--certificate-secret=%s" $o.certificateSecret)
  (printf "--lease=%s" $o.lease)
  (printf "--ca-lifetime=%s" $v.certificates.controller.caLifetime)
  (printf "--leaf-lifetime=%s" $v.certificates.controller.leafLifetime)
  (printf "--ca-overlap=%s" $v.certificates.controller.caOverlap)) -}}
{{- if $names -}}
{{- $args = concat $args (list
  (printf "--webhook-configurations=%s" (join "," $names))
  (printf "--webhook-suffix=%s" $v.webhook.nameSuffix)) -}}
{{- if $o.advises }}{{ $args = append $args (printf "--advice-configuration=%s" $o.adviceConfiguration) }}{{ end -}}
{{- with $o.movableTags -}}
{{- $tags := list -}}
{{- range . }}{{ $tags = append $tags .name }}{{ end -}}
{{- $args = append $args (printf "--tag-configurations=%s" (join "," $tags)) -}}
{{- if not $o.watches }}{{ $args = append $args (printf "--revision=%s" $o.revisionName) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- $args = concat $args (list
  "--certificate=files"
  "--tls-cert=/etc/outrigger/certificate/tls.crt"
  "--tls-key=/etc/outrigger/certificate/tls.key") -}}
{{- end -}}
{{- if $o.reviewsTokens }}{{ $args = append $args "--admin-auth=token" }}{{ end -}}
{{- $callers := $v.clientAuth -}}
{{- if ne $callers.mode "none" -}}
{{- $args = append $args (printf "--client-auth=%s" $callers.mode) -}}
{{- if $o.watchesCallers -}}
{{- $args = append $args (printf "--client-ca-configmap=%s/%s:%s" $o.callersNamespace $callers.configMap.name $callers.configMap.key) -}}
{{- else if or $callers.configMap.name $callers.secret.name -}}
{{- $args = append $args "--client-ca-file=/etc/outrigger/callers/ca.crt" -}}
{{- end -}}
{{- with $callers.allowedNames }}{{ $args = append $args (printf "--client-allowed-names=%s" (join "," .)) }}{{ end -}}
{{- if $callers.tokenSecret.name }}{{ $args = append $args "--client-token-file=/etc/outrigger/callers/tokens" }}{{ end -}}
{{- end -}}
{{- if $o.canary -}}
{{- $args = concat $args (list
  (printf "--canary-namespace=%s" $v.canary.namespace)
  (printf "--canary-interval=%s" $v.canary.interval)) -}}
{{- $suffix := printf "--webhook-suffix=%s" $v.webhook.nameSuffix -}}
{{- if not (has $suffix $args) }}{{ $args = append $args $suffix }}{{ end -}}
{{- $revision := printf "--revision=%s" $o.revisionName -}}
{{- if not (has $revision $args) }}{{ $args = append $args $revision }}{{ end -}}
{{- end -}}
{{- if $o.auditsNamespaces -}}
{{- $args = concat $args (list "--namespace-audit" (printf "--namespace-audit-interval=%s" $v.namespaceAudit.interval)) -}}
{{- end -}}
{{- if $o.findsBareWorkloads -}}
{{- $args = concat $args (list
  (printf "--bare-workloads=%s" $v.bareWorkloads.mode)
  (printf "--bare-workloads-interval=%s" $v.bareWorkloads.interval)) -}}
{{- end -}}
{{- if $o.restartsWorkloads -}}
{{- $args = append $args (printf "--restart-parallel=%d" (int $v.bareWorkloads.parallel)) -}}
{{- range $v.bareWorkloads.windows }}{{ $args = append $args (printf "--restart-window=%s" .) }}{{ end -}}
{{- end -}}
{{- concat $args $v.server.extraArgs | mustToJson -}}
{{- end -}}

{{/*
How authorized metrics are scraped: over TLS, because the scraper sends a token.
The certificate is the webhook's.
*/}}
{{- define "outrigger.scraping" -}}
{{- $monitoring := .root.Values.monitoring -}}
scheme: https
tlsConfig:
  {{- if $monitoring.tlsConfig }}
  {{- toYaml $monitoring.tlsConfig | nindent 2 }}
  {{- else if has .root.Values.certificates.mode (list "controller" "cert-manager") }}
  serverName: {{ .facts.name }}.{{ .root.Release.Namespace }}.svc
  ca:
    secret:
      name: {{ .facts.controls | ternary .facts.certificateSecret (include "outrigger.mountedSecret" .) }}
      key: ca.crt
  {{- else }}
  insecureSkipVerify: true
  {{- end }}
authorization:
  {{- toYaml $monitoring.authorization | nindent 2 }}
{{- end -}}

{{/* Whether an address range lies within another one: IPv4 by arithmetic, IPv6 only within ::/0. */}}
{{- define "outrigger.within" -}}
{{- $inner := splitList "/" .inner -}}
{{- $outer := splitList "/" .outer -}}
{{- if or (contains ":" .inner) (contains ":" .outer) -}}
{{- and (contains ":" .inner) (eq .outer "::/0") (ne .inner .outer) -}}
{{- else -}}
{{- $sum := dict "inner" 0 "outer" 0 -}}
{{- range $which, $address := dict "inner" (first $inner) "outer" (first $outer) -}}
{{- range splitList "." $address }}{{ $_ := set $sum $which (add (mul (get $sum $which) 256) (int .)) }}{{ end -}}
{{- end -}}
{{- $size := 1 -}}
{{- range until (sub 32 (last $outer | int) | int) }}{{ $size = mul $size 2 }}{{ end -}}
{{- and (gt (last $inner | int) (last $outer | int)) (eq (div $sum.inner $size) (div $sum.outer $size)) -}}
{{- end -}}
{{- end -}}

{{/* The mounted Secret, if the server does not maintain its own. */}}
{{- define "outrigger.mountedSecret" -}}
{{- if eq .root.Values.certificates.mode "cert-manager" -}}
{{ .facts.name }}-tls
{{- else if eq .root.Values.certificates.mode "files" -}}
{{ .root.Values.certificates.files.secretName }}
{{- else -}}
{{ .root.Values.certificates.static.secretName }}
{{- end -}}
{{- end -}}
