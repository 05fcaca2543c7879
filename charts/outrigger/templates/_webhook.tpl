{{/*
The selectors of a MutatingWebhookConfiguration's entries, as JSON: {entries: [{prefix, namespace: […], object: […]}]}.
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
{{- $named := list $notOptedOut -}}
{{- if .sendsOptOuts -}}
{{- $named = list -}}
{{- $noWish = dict "key" $inject "operator" "NotIn" "values" (list "true") -}}
{{- end -}}
{{- $entries := list -}}
{{- if .auto -}}
{{- $entries = append $entries (dict "prefix" "auto." "namespace" (list $noInjection $noRev) "object" (list $noWish $noRev)) -}}
{{- else -}}
{{- $entries = append $entries (dict "prefix" "rev.namespace." "namespace" (list $ours $noInjection) "object" $named) -}}
{{- $entries = append $entries (dict "prefix" "rev.object." "namespace" (list $noRev $noInjection) "object" (append $named $ours)) -}}
{{- end -}}
{{- if .default -}}
{{- $entries = append $entries (dict "prefix" "namespace." "namespace" (list $enabled) "object" $named) -}}
{{- $entries = append $entries (dict "prefix" "object." "namespace" (list $noInjection $noRev) "object" (list $optedIn $noRev)) -}}
{{- end -}}
{{- dict "entries" $entries | mustToJson -}}
{{- end -}}

{{/* Kubernetes' kinds with a pod template, as rules without operations, as a JSON list. */}}
{{- define "outrigger.workloads" -}}
{{- list
  (dict "apiGroups" (list "apps") "apiVersions" (list "v1") "resources" (list "deployments" "statefulsets" "daemonsets" "replicasets"))
  (dict "apiGroups" (list "batch") "apiVersions" (list "v1") "resources" (list "jobs" "cronjobs"))
  (dict "apiGroups" (list "") "apiVersions" (list "v1") "resources" (list "replicationcontrollers"))
  | mustToJson -}}
{{- end -}}

{{/* Namespaces that are never selected: the cluster's, ours (otherwise the first replica could not be created), and the given ones. */}}
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
{{- $conditions = append $conditions (dict "name" "not-a-mirror-pod" "expression" "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations) || !(has(request.userInfo.groups) && 'system:nodes' in request.userInfo.groups)") -}}
{{- end -}}
{{- end -}}
{{- $conditions = concat $conditions .root.Values.webhook.matchConditions.extra -}}
{{- concat $conditions (include "outrigger.rules" (dict "root" .root "policy" (.policy | default "") "existing" (len $conditions)) | fromJsonArray) | mustToJson -}}
{{- end -}}

{{/* Whether pods that opt out by their label must be sent: "true" if a rule injects them anyway, or the override policy checks them. */}}
{{- define "outrigger.sendsOptOuts" -}}
{{- $bundle := .Values.configuration.bundle -}}
{{- range $bundle.rules }}{{ if eq (.inject | default "") "force" }}true{{ end }}{{ end -}}
{{- range $bundle.overridePolicy -}}
{{- $forbid := .forbid | default dict -}}
{{- if $forbid.optOut }}true{{ end -}}
{{- $warnings := kindIs "slice" $forbid.warnings | ternary $forbid.warnings (list $forbid.warnings) -}}
{{- range $warnings }}{{ with . }}{{ if regexMatch (include "outrigger.glob" .) "BYPASS_OPTED_OUT" }}true{{ end }}{{ end }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* A pattern with * as a regular expression. */}}
{{- define "outrigger.glob" -}}
^{{ regexReplaceAll "([.+?()|\\[\\]{}^$])" . "\\${1}" | replace "*" ".*" }}$
{{- end -}}

{{/* Whether .text, a CEL expression, fits one of .globs: a pattern or a list of them. */}}
{{- define "outrigger.fits" -}}
{{- $all := list -}}
{{- range (kindIs "slice" .globs | ternary .globs (list .globs)) }}{{ $all = append $all (include "outrigger.glob" .) }}{{ end -}}
{{ .text }}.matches(r'{{ join "|" $all }}')
{{- end -}}

{{/* Whether the labels at .text, a CEL expression, match .selector. */}}
{{- define "outrigger.selects" -}}
{{- $labels := .text -}}
{{- $terms := list -}}
{{- range $key, $value := .selector.matchLabels -}}
{{- $terms = append $terms (printf "(has(%s) && '%s' in %s && %s['%s'] in ['%s'])" $labels $key $labels $labels $key $value) -}}
{{- end -}}
{{- range .selector.matchExpressions -}}
{{- $there := printf "(has(%s) && '%s' in %s)" $labels .key $labels -}}
{{- $values := list }}{{ range (.values | default list | uniq | sortAlpha) }}{{ $values = append $values (printf "'%s'" .) }}{{ end -}}
{{- $in := printf "(has(%s) && '%s' in %s && %s['%s'] in [%s])" $labels .key $labels $labels .key (join ", " $values) -}}
{{- $terms = append $terms (get (dict "In" $in "NotIn" (printf "!%s" $in) "Exists" $there "DoesNotExist" (printf "!%s" $there)) .operator) -}}
{{- end -}}
({{ join " && " $terms }})
{{- end -}}

{{/*
The pods of .match, the conditions of a rule, as a CEL expression. In a policy (.inPolicy) also labels of the namespace, and the workload
behind a controller.
*/}}
{{- define "outrigger.matches" -}}
{{- $match := .match | default dict -}}
{{- $inPolicy := .inPolicy -}}
{{- $parts := list -}}
{{- with $match.namespace }}{{ $parts = append $parts (include "outrigger.fits" (dict "text" "request.namespace" "globs" .)) }}{{ end -}}
{{- with $match.serviceAccount }}{{ $parts = append $parts (include "outrigger.fits" (dict "text" "(has(object.spec.serviceAccountName) ? object.spec.serviceAccountName : 'default')" "globs" .)) }}{{ end -}}
{{- with $match.user }}{{ $parts = append $parts (include "outrigger.fits" (dict "text" "request.userInfo.username" "globs" .)) }}{{ end -}}
{{- with $match.owner -}}
{{- $owners := list -}}
{{- range (kindIs "slice" . | ternary . (list .)) -}}
{{- $words := splitn "/" 2 . -}}
{{- $owners = append $owners (printf "(%s && %s)" (include "outrigger.fits" (dict "text" "o.kind" "globs" $words._0)) (include "outrigger.fits" (dict "text" "o.name" "globs" $words._1))) -}}
{{- if $inPolicy -}}
{{- $kind := include "outrigger.glob" $words._0 -}}
{{- $name := include "outrigger.glob" $words._1 | trimSuffix "$" -}}
{{- if or (regexMatch $kind "Deployment") (regexMatch $kind "Rollout") -}}
{{- $owners = append $owners (printf "(o.kind == 'ReplicaSet' && o.name.matches(r'%s-[a-z0-9]+$'))" $name) -}}
{{- end -}}
{{- if regexMatch $kind "CronJob" -}}
{{- $owners = append $owners (printf "(o.kind == 'Job' && o.name.matches(r'%s-[0-9]{8,10}$'))" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $parts = append $parts (printf "(has(object.metadata.ownerReferences) && object.metadata.ownerReferences.exists(o, %s))" (join " || " $owners)) -}}
{{- end -}}
{{- with $match.labels }}{{ $parts = append $parts (include "outrigger.selects" (dict "text" "object.metadata.labels" "selector" .)) }}{{ end -}}
{{- if $inPolicy -}}
{{- with $match.namespaceLabels }}{{ $parts = append $parts (include "outrigger.selects" (dict "text" "namespaceObject.metadata.labels" "selector" .)) }}{{ end -}}
{{- end -}}
{{- with $match.image -}}
{{- $image := printf "has(c.image) && %s" (include "outrigger.fits" (dict "text" "c.image" "globs" .)) -}}
{{- $parts = append $parts (printf "(object.spec.containers.exists(c, %s) || (has(object.spec.initContainers) && object.spec.initContainers.exists(c, %s)))" $image $image) -}}
{{- end -}}
{{- with $match.cel }}{{ $parts = append $parts (printf "(%s)" .) }}{{ end -}}
{{- join " && " ($parts | default (list "true")) -}}
{{- end -}}

{{/* The first function of .cel that API servers or the injector lack; empty if there is none. */}}
{{- define "outrigger.uncommon" -}}
{{- $functions := list "size" "contains" "startsWith" "endsWith" "matches" "int" "string" "double" "bool" "has" "all" "exists" "exists_one" "map" "filter" "lowerAscii" "upperAscii" -}}
{{- $found := "" -}}
{{- range regexFindAll "[A-Za-z_][A-Za-z_0-9]*[(]" (.cel | default "") -1 -}}
{{- if not (or $found (has (trimSuffix "(" .) $functions)) }}{{ $found = trimSuffix "(" . }}{{ end -}}
{{- end -}}
{{- $found -}}
{{- end -}}

{{/*
Rules with inject: never as match conditions, as `outrigger webhook print --bundle` makes them, as a JSON list: only those before
the first rule that does anything else, none after one with an expression, and no expression unless the webhook fails closed.
*/}}
{{- define "outrigger.rules" -}}
{{- $conditions := list -}}
{{- $go := true -}}
{{- $existing := int .existing -}}
{{- $closed := eq .policy "Fail" -}}
{{- range .root.Values.configuration.bundle.rules -}}
{{- if ne (.inject | default "") "never" }}{{ $go = false }}{{ end -}}
{{- $match := .match | default dict -}}
{{- $movable := and $go (not $match.namespaceLabels) $match -}}
{{- with $match.cel -}}
{{- $movable = and $movable $closed (not (contains "namespaceObject" .)) (not (include "outrigger.uncommon" $match)) -}}
{{- end -}}
{{- $expression := printf "!(%s)" (include "outrigger.matches" (dict "match" $match)) -}}
{{- if and $movable (le (len $expression) 4096) (lt (add $existing (len $conditions)) 64) -}}
{{- $conditions = append $conditions (dict "name" (printf "rules.outrigger.dev/%s" .name) "expression" $expression) -}}
{{- end -}}
{{- if $match.cel }}{{ $go = false }}{{ end -}}
{{- end -}}
{{- $conditions | mustToJson -}}
{{- end -}}

{{/*
The caBundle in base64, from .text, which is PEM or base64 of PEM; .at is its path in the values. Everyone who may read the
webhook configuration can read it, so only certificates go in, and only as API servers find them: Go's pem.Decode takes a BEGIN
and an END only at the start of a line, and skips other blocks.
*/}}
{{- define "outrigger.caBundle" -}}
{{- $at := .at -}}
{{- $accepted := "expected CERTIFICATE blocks in PEM, every BEGIN and END on a line of its own, or base64 of that" -}}
{{- $text := contains "-----" .text | ternary .text (.text | nospace | b64dec) | replace "\r\n" "\n" -}}
{{- if regexMatch "(?i)(BEGIN|END)[^\n]*PRIVATE KEY" $text -}}
{{- fail (printf "%s: found a private key, which everyone with access to webhook configurations could read; %s" $at $accepted) -}}
{{- end -}}
{{- if not (contains "-----BEGIN" $text) -}}
{{- fail (printf "%s: found no certificate in PEM; %s" $at $accepted) -}}
{{- end -}}
{{- range $line := regexFindAll "[^\n]*-----(BEGIN|END)[^\n]*" $text -1 -}}
{{- if not (regexMatch "^-----(BEGIN|END) [^-\n]+-----[ \t]*$" $line) -}}
{{- fail (printf "%s: found a BEGIN or END that is not on its own line: it is indented, joined to other text, or follows a byte order mark; %s" $at $accepted) -}}
{{- end -}}
{{- $label := regexReplaceAll "^-----(BEGIN|END) ([^-\n]+)-----[ \t]*$" $line "${2}" -}}
{{- if ne $label "CERTIFICATE" -}}
{{- fail (printf "%s: found a block %q; %s" $at $label $accepted) -}}
{{- end -}}
{{- end -}}
{{- $begins := regexFindAll "(?m)^-----BEGIN " $text -1 -}}
{{- $ends := regexFindAll "(?m)^-----END " $text -1 -}}
{{- $blocks := regexFindAll "(?m)^-----BEGIN CERTIFICATE-----[ \t]*\n[A-Za-z0-9+/= \t\n]+\n-----END CERTIFICATE-----[ \t]*$" $text -1 -}}
{{- if or (ne (len $blocks) (len $begins)) (ne (len $blocks) (len $ends)) -}}
{{- fail (printf "%s: found a block without BEGIN or END, or with content that is not base64; %s" $at $accepted) -}}
{{- end -}}
{{- range $block := $blocks -}}
{{- $body := regexReplaceAll "-----[A-Z ]+-----" $block "" | nospace -}}
{{- /* DER of a certificate is a SEQUENCE, whose first byte is 0x30. */ -}}
{{- if not (and (regexMatch "^M[A-P]" $body) (eq ($body | b64dec | b64enc) $body)) -}}
{{- fail (printf "%s: found a CERTIFICATE block whose content is not a certificate in base64; %s" $at $accepted) -}}
{{- end -}}
{{- end -}}
{{- printf "%s\n" (join "\n" $blocks) | b64enc -}}
{{- end -}}
