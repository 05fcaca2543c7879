{{/*
Everything that follows from the values, once, as JSON:

  $o := include "outrigger.facts" . | fromJson

An istiod values file is merged as the istiod chart does it: _internal_defaults_do_not_set overrides the profile and the
platform, given values override both, and keys under `pilot` are the same as keys directly under the root.
*/}}
{{- define "outrigger.facts" -}}
{{- $v := .Values -}}
{{- $inner := $v._internal_defaults_do_not_set | default dict -}}
{{- $profiles := .Files.Get "files/profiles.yaml" | fromYaml -}}
{{- $base := dict -}}
{{- with coalesce $v.profile ($v.global).profile -}}
{{- if not (hasKey $profiles.profiles .) -}}
{{- fail (printf "profile: found %q; expected %s" . (keys $profiles.profiles | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $base = mustMergeOverwrite $base (index $profiles.profiles .) -}}
{{- end -}}
{{- $platform := coalesce ($v.global).platform $v.platform ($inner.global).platform $inner.platform | default "" -}}
{{- if not (or (empty $platform) (hasKey $profiles.platforms $platform)) -}}
{{- fail (printf "global.platform: found %q; expected %s, or nothing for any other platform" $platform (keys $profiles.platforms | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $base = mustMergeOverwrite $base (index $profiles.platforms $platform | default dict) -}}
{{- $all := mustMergeOverwrite $base (mustDeepCopy $inner) (mustDeepCopy (pick $v "global" "meshConfig" "sidecarInjectorWebhook" "istiodRemote" "gateways" "pilot" "cni" "env" "crlConfigMapName")) -}}
{{- $pilot := mustMergeOverwrite (pick $all "cni" "env" "crlConfigMapName") (pick ($all.pilot | default dict) "cni" "env" "crlConfigMapName") -}}
{{- $global := $all.global | default dict -}}
{{- $webhook := $all.sidecarInjectorWebhook | default dict -}}
{{- $remote := $all.istiodRemote | default dict -}}

{{- /* Names. The revision "default" is the one without a name, as in istio.io/rev. */ -}}
{{- $revision := coalesce $v.revision $inner.revision | default "" | toString -}}
{{- if eq $revision "default" }}{{ $revision = "" }}{{ end -}}
{{- $suffix := empty $revision | ternary "" (printf "-%s" $revision) -}}
{{- $namespaced := eq .Release.Namespace "outrigger-system" | ternary "" (printf "-%s" .Release.Namespace) -}}
{{- $name := printf "outrigger%s" $suffix -}}
{{- $tags := coalesce $v.revisionTags $inner.revisionTags | default list -}}
{{- if and $revision (eq ($v.defaultRevision | default "") $revision) }}{{ $tags = append $tags "default" }}{{ end -}}
{{- $tags = $tags | uniq | sortAlpha -}}
{{- if and (not $revision) (has "default" $tags) -}}
{{- fail "revisionTags: the tag \"default\" is for releases with a revision; this release is the default one" -}}
{{- end -}}
{{- if and $revision (has $revision $tags) -}}
{{- fail (printf "revisionTags: found %q, which is the revision; expected another name" $revision) -}}
{{- end -}}
{{- $default := or (empty $revision) (has "default" $tags) -}}
{{- $configurations := list (dict "name" (printf "outrigger-sidecar-injector%s%s" $suffix $namespaced) "revision" ($revision | default "default") "default" (empty $revision) "tag" "") -}}
{{- range $tags -}}
{{- $configurations = append $configurations (dict "name" (printf "outrigger-revision-tag-%s%s" . $namespaced) "revision" . "default" (eq . "default") "tag" .) -}}
{{- end -}}
{{- if and $default $webhook.enableNamespacesByDefault -}}
{{- /* A separate object, so that it can be removed as a whole. An entry could not, because the caBundle
in it belongs to the server, and server-side apply keeps what others own. */ -}}
{{- $configurations = append $configurations (dict "name" (printf "outrigger-auto-injector%s%s" $suffix $namespaced) "revision" "" "default" false "auto" true "tag" "") -}}
{{- end -}}

{{- $movable := list -}}
{{- range $v.webhook.movableTags | uniq | sortAlpha -}}
{{- $movable = append $movable (dict "name" (printf "outrigger-revision-tag-%s%s" . $namespaced) "revision" . "default" (eq . "default") "tag" .) -}}
{{- end -}}

{{- $server := or (not $remote.enabled) $remote.enabledLocalInjectorIstiod -}}
{{- $scope := $global.resourceScope | default "all" -}}
{{- $native := get ($pilot.env | default dict) "ENABLE_NATIVE_SIDECARS" | toString -}}
{{- $native = get (dict "true" "enabled" "false" "disabled" "auto" "auto") $native -}}
{{- $env := dict -}}
{{- range $key, $value := mustMergeOverwrite (dict) ($pilot.env | default dict) $v.configuration.templateEnv -}}
{{- if not (kindIs "invalid" $value) }}{{ $_ := set $env $key (toString $value) }}{{ end -}}
{{- end -}}
{{- $istio := $v.configuration.istio -}}
{{- $facts := dict
  "revision" $revision "revisionName" ($revision | default "default") "tags" $tags "isDefault" $default
  "name" $name
  "clusterName" (printf "%s%s" $name $namespaced)
  "policyName" (printf "outrigger-proxy-required%s%s" $suffix $namespaced)
  "serviceAccount" ($v.serviceAccount.name | default $name)
  "configMap" $name
  "certificateSecret" (printf "outrigger-certificate%s" $suffix)
  "lease" (printf "outrigger-leader%s" $suffix)
  "webhookConfigurations" $configurations "movableTags" $movable
  "istioNamespace" ($global.istioNamespace | default "istio-system")
  "injectorConfigMap" ($istio.injectorConfigMap | default (printf "istio-sidecar-injector%s" $suffix))
  "meshConfigMap" ($istio.meshConfigMap | default (printf "istio%s" $suffix))
  "platform" (eq $platform "openshift" | ternary "openshift" "")
  "nativeSidecars" (coalesce $v.configuration.nativeSidecars $native | default "auto")
  "compliancePolicy" (coalesce $v.configuration.compliancePolicy (get ($pilot.env | default dict) "COMPLIANCE_POLICY") | default "")
  "templateEnv" $env
  "global" $global "meshConfig" ($all.meshConfig | default dict) "sidecarInjectorWebhook" $webhook "istiodRemote" $remote
  "gateways" ($all.gateways | default dict) "pilot" $pilot
  "server" $server
  "watches" (eq $v.configuration.mode "watch")
  "controls" (eq $v.certificates.mode "controller")
  "ownBundle" (eq $v.configuration.from "bundle")
-}}
{{- $_ := set $facts "namespacedObjects" (and $server (has $scope (list "all" "namespace"))) -}}
{{- $_ := set $facts "clusterObjects" (has $scope (list "all" "cluster")) -}}
{{- /* The API server authorizes readers of metrics. */ -}}
{{- $_ := set $facts "reviewsTokens" (eq $v.server.adminAuth "token") -}}
{{- $_ := set $facts "canary" (and $v.canary.enabled $server) -}}
{{- $_ := set $facts "auditsNamespaces" (and $v.namespaceAudit.enabled $server) -}}
{{- $_ := set $facts "findsBareWorkloads" (and $v.bareWorkloads.mode $server | not | not) -}}
{{- $_ := set $facts "restartsWorkloads" (and $facts.findsBareWorkloads (eq $v.bareWorkloads.mode "restart")) -}}
{{- $_ := set $facts "usesApi" (or $facts.findsBareWorkloads $facts.watches $facts.controls $facts.reviewsTokens $facts.canary $facts.auditsNamespaces) -}}
{{- $callers := $v.clientAuth -}}
{{- $authenticates := ne $callers.mode "none" -}}
{{- $caConfigMap := and $authenticates $callers.configMap.name | default "" -}}
{{- $_ := set $facts "callersNamespace" ($callers.configMap.namespace | default .Release.Namespace) -}}
{{- $_ := set $facts "watchesCallers" (and $caConfigMap $facts.usesApi | empty | not) -}}
{{- $mounts := list -}}
{{- if and $caConfigMap (not $facts.watchesCallers) -}}
{{- $mounts = append $mounts (dict "configMap" (dict "name" $caConfigMap "items" (list (dict "key" $callers.configMap.key "path" "ca.crt")))) -}}
{{- end -}}
{{- if and $authenticates $callers.secret.name -}}
{{- $mounts = append $mounts (dict "secret" (dict "name" $callers.secret.name "items" (list (dict "key" $callers.secret.key "path" "ca.crt")))) -}}
{{- end -}}
{{- if and $authenticates $callers.tokenSecret.name -}}
{{- $mounts = append $mounts (dict "secret" (dict "name" $callers.tokenSecret.name "items" (list (dict "key" $callers.tokenSecret.key "path" "tokens")))) -}}
{{- end -}}
{{- $_ := set $facts "callersMounts" $mounts -}}
{{- $enabled := $v.networkPolicy.enabled -}}
{{- $auto := and (kindIs "string" $enabled) (not (empty $v.networkPolicy.apiServerCIDRs)) -}}
{{- $_ := set $facts "networkPolicy" (or (and (kindIs "bool" $enabled) $enabled) $auto (($global.networkPolicy).enabled | default false)) -}}
{{- /* Our own controller adds the rules once a replica is ready. */ -}}
{{- $_ := set $facts "activates" (and $facts.controls $server) -}}
{{- $_ := set $facts "watchesNodes" (and $facts.watches $v.configuration.watchNodes) -}}
{{- $_ := set $facts "watchesProxyConfigs" (and $facts.watches $v.configuration.watchProxyConfigs) -}}
{{- $_ := set $facts "writesWorkloadEvents" (and $facts.watches $v.configuration.workloadEvents) -}}
{{- $_ := set $facts "watchesNamespaces" (and $facts.watches (or (eq $facts.platform "openshift") (eq $v.configuration.selection "verify") $v.configuration.bundle.namespaceDefaults $v.configuration.bundle.rules $v.configuration.bundle.overridePolicy $v.configuration.bundle.podSecurity)) -}}
{{- $limits := $v.configuration.bundle.namespaceLimits | default dict -}}
{{- $_ := set $facts "watchesLimitRanges" (and $facts.watches (eq (toString $limits.limitRanges) "warn")) -}}
{{- $_ := set $facts "watchesResourceQuotas" (and $facts.watches (eq (toString $limits.resourceQuotas) "warn")) -}}
{{- $_ := set $facts "adviceConfiguration" (printf "outrigger-advice%s%s" $suffix $namespaced) -}}
{{- $_ := set $facts "advises" (and $v.webhook.enabled $v.webhook.advice.enabled $server $facts.clusterObjects) -}}
{{- include "outrigger.contradictions" (dict "root" . "facts" $facts) -}}
{{- $facts | mustToJson -}}
{{- end -}}

{{/* Rejects conflicting values that a schema cannot detect. */}}
{{- define "outrigger.contradictions" -}}
{{- $v := .root.Values -}}
{{- $namespace := .root.Release.Namespace -}}
{{- if and .facts.canary (not $v.canary.namespace) -}}
{{- fail "canary.namespace: found nothing; expected a namespace whose pods are injected" -}}
{{- end -}}
{{- if and (not .facts.watches) (not .facts.ownBundle) (ne $namespace .facts.istioNamespace) -}}
{{- fail (printf "configuration.mode: files mounts the ConfigMaps of configuration.from: istio, which works only in their namespace: found release namespace %q, expected %q, or configuration.mode: watch" $namespace .facts.istioNamespace) -}}
{{- end -}}
{{- if and (eq $v.certificates.mode "files") .facts.server (not $v.certificates.files.secretName) -}}
{{- fail "certificates.files.secretName: found nothing; certificates.mode: files needs the name of a Secret" -}}
{{- end -}}
{{- if and (eq $v.certificates.mode "static") .facts.server (not (and $v.certificates.static.secretName $v.certificates.static.caBundle)) -}}
{{- fail "certificates.static: certificates.mode: static needs secretName and caBundle" -}}
{{- end -}}
{{- if and .facts.istiodRemote.enabled (not .facts.istiodRemote.enabledLocalInjectorIstiod) (not .facts.istiodRemote.injectionURL) -}}
{{- fail "istiodRemote.injectionURL: found nothing; istiodRemote.enabled means that the injector runs elsewhere, so the API server needs its URL" -}}
{{- end -}}
{{- if and $v.webhook.advice.enabled (not .facts.watchesNamespaces) -}}
{{- fail "webhook.advice.enabled: found true for a server that does not watch namespaces, so that it would warn about workloads outside the mesh; expected configuration.mode: watch with configuration.selection: verify" -}}
{{- end -}}
{{- range $tag := .facts.movableTags -}}
{{- if eq $tag.tag $.facts.revisionName -}}
{{- fail (printf "webhook.movableTags: found %q, which is the revision; expected another name" $tag.tag) -}}
{{- end -}}
{{- if has $tag.tag $.facts.tags -}}
{{- fail (printf "webhook.movableTags: found %q, which is also in revisionTags; expected it in only one of them: revisionTags creates an object that stays with this release" $tag.tag) -}}
{{- end -}}
{{- end -}}
{{- if and .facts.restartsWorkloads (not .facts.controls) -}}
{{- fail (printf "bareWorkloads.mode: found restart with certificates.mode: %s; expected report, or certificates.mode: controller, whose Lease says which replica restarts" $v.certificates.mode) -}}
{{- end -}}
{{- if eq (int $v.server.webhookPort) (int $v.server.adminPort) -}}
{{- fail (printf "server: found %d as webhookPort and as adminPort; expected two ports" (int $v.server.adminPort)) -}}
{{- end -}}
{{- $stopping := addf (include "outrigger.milliseconds" $v.server.drainDelay | float64) (include "outrigger.milliseconds" $v.server.shutdownGrace | float64) -}}
{{- if and .facts.server (le (mulf $v.terminationGracePeriodSeconds 1000) $stopping) -}}
{{- fail (printf "terminationGracePeriodSeconds: found %d; expected more than server.drainDelay (%s) and server.shutdownGrace (%s) together, because the kubelet would otherwise kill a replica that still serves requests" (int $v.terminationGracePeriodSeconds) $v.server.drainDelay $v.server.shutdownGrace) -}}
{{- end -}}
{{- if and (not $v.service.externalName) (eq (int $v.service.port) (int $v.server.adminPort)) -}}
{{- fail (printf "service.port: found %d, which is server.adminPort; expected another port, because the Service exposes both" (int $v.service.port)) -}}
{{- end -}}
{{- $callers := $v.clientAuth -}}
{{- $given := or $callers.configMap.name $callers.secret.name $callers.tokenSecret.name $callers.allowedNames -}}
{{- if and (eq $callers.mode "none") $given -}}
{{- fail "clientAuth.mode: found none together with settings for authentication; expected request or require" -}}
{{- end -}}
{{- if and (ne $callers.mode "none") (not (or $callers.configMap.name $callers.secret.name $callers.tokenSecret.name)) -}}
{{- fail (printf "clientAuth: found mode %s without settings for authentication; expected configMap.name or secret.name with allowedNames, or tokenSecret.name" $callers.mode) -}}
{{- end -}}
{{- if and $callers.configMap.name $callers.secret.name -}}
{{- fail "clientAuth: found configMap.name and secret.name; expected one of the two" -}}
{{- end -}}
{{- if and (or $callers.configMap.name $callers.secret.name) (not $callers.allowedNames) -}}
{{- fail "clientAuth.allowedNames: found nothing; expected the names in the API servers' certificates, or [\"*\"] for a CA that signs no other certificates" -}}
{{- end -}}
{{- if and $callers.allowedNames (not (or $callers.configMap.name $callers.secret.name)) -}}
{{- fail "clientAuth.allowedNames: found names and no CA; expected configMap.name or secret.name with them" -}}
{{- end -}}
{{- if and (has "*" $callers.allowedNames) (gt (len $callers.allowedNames) 1) -}}
{{- fail "clientAuth.allowedNames: found \"*\" beside other names; expected names, or [\"*\"] alone" -}}
{{- end -}}
{{- if and (has "*" $callers.allowedNames) (eq $callers.configMap.name "extension-apiserver-authentication") -}}
{{- fail "clientAuth.allowedNames: found [\"*\"] with the CA of the cluster's users and components; expected names" -}}
{{- end -}}
{{- if and $callers.configMap.name (not .facts.usesApi) (ne .facts.callersNamespace $namespace) -}}
{{- fail (printf "clientAuth.configMap.namespace: found %q for a server that does not talk to the API server; expected %q, from which it is mounted" .facts.callersNamespace $namespace) -}}
{{- end -}}
{{- if and .facts.reviewsTokens (or $v.monitoring.serviceMonitor.enabled $v.monitoring.podMonitor.enabled) (empty $v.monitoring.authorization) -}}
{{- fail "monitoring.authorization: found nothing; server.adminAuth: token needs the scraper's token, such as {type: Bearer, credentials: {name: prometheus-token, key: token}}" -}}
{{- end -}}
{{- if and (eq $v.server.adminListen "loopback") (not $v.hostNetwork) -}}
{{- fail "server.adminListen: found loopback without hostNetwork, where kubelets cannot probe; expected all, or hostNetwork: true with it" -}}
{{- end -}}
{{- if and (eq $v.server.adminListen "loopback") (or $v.monitoring.serviceMonitor.enabled $v.monitoring.podMonitor.enabled) -}}
{{- fail "server.adminListen: found loopback with a ServiceMonitor or a PodMonitor, which cannot reach it; expected all" -}}
{{- end -}}
{{- if and $v.podDisruptionBudget.minAvailable $v.podDisruptionBudget.maxUnavailable (ne (int $v.podDisruptionBudget.maxUnavailable) 1) -}}
{{- fail "podDisruptionBudget: found minAvailable and maxUnavailable; expected one of the two" -}}
{{- end -}}
{{- end -}}
