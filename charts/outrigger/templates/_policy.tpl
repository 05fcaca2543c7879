{{/*
The parts of the ValidatingAdmissionPolicy that follow from the bundle, as `outrigger webhook print --backstop` makes them.
*/}}

{{/* The expression that is false for pods to which an entry of the override policy denies .code or, with .optOut, opting out. */}}
{{- define "outrigger.unless" -}}
{{- $code := .code -}}
{{- $optOut := .optOut -}}
{{- $denied := list -}}
{{- range .root.Values.configuration.bundle.overridePolicy -}}
{{- $forbid := .forbid | default dict -}}
{{- $denies := and $optOut $forbid.optOut -}}
{{- range (kindIs "slice" $forbid.warnings | ternary $forbid.warnings (list $forbid.warnings)) -}}
{{- with . }}{{ if regexMatch (include "outrigger.glob" .) $code }}{{ $denies = true }}{{ end }}{{ end -}}
{{- end -}}
{{- if and $denies (eq .action "deny") -}}
{{- $pods := include "outrigger.matches" (dict "match" .match "inPolicy" true) -}}
{{- include "outrigger.commonOnly" (dict "list" "overridePolicy" "name" .name "match" .match) -}}
{{- if .except -}}
{{- include "outrigger.commonOnly" (dict "list" "overridePolicy" "name" .name "match" .except) -}}
{{- $pods = printf "(%s && !(%s))" $pods (include "outrigger.matches" (dict "match" .except "inPolicy" true)) -}}
{{- end -}}
{{- $denied = append $denied (printf "(%s)" $pods) -}}
{{- end -}}
{{- end -}}
{{- if $denied }}!({{ join " || " $denied }}){{ else }}true{{ end -}}
{{- end -}}

{{/* Fails if API servers cannot evaluate the conditions like the injector. */}}
{{- define "outrigger.commonOnly" -}}
{{- with include "outrigger.uncommon" (.match | default dict) -}}
{{- fail (printf "validatingAdmissionPolicy: %s %s: found an expression with the function %s, which API servers do not have; expected only functions of both, or another condition" $.list $.name .) -}}
{{- end -}}
{{- end -}}

{{/* Whether one of .selectors matches the pod's labels; an empty one matches nothing. */}}
{{- define "outrigger.anySelector" -}}
{{- $all := list -}}
{{- range .selectors -}}
{{- $terms := list -}}
{{- range $key, $value := .matchLabels -}}
{{- $terms = append $terms (printf "('%s' in variables.labels && variables.labels['%s'] in ['%s'])" $key $key $value) -}}
{{- end -}}
{{- range .matchExpressions -}}
{{- $there := printf "'%s' in variables.labels" .key -}}
{{- $values := list }}{{ range (.values | default list | uniq | sortAlpha) }}{{ $values = append $values (printf "'%s'" .) }}{{ end -}}
{{- $in := printf "(%s && variables.labels['%s'] in [%s])" $there .key (join ", " $values) -}}
{{- $terms = append $terms (get (dict "In" $in "NotIn" (printf "!%s" $in) "Exists" (printf "(%s)" $there) "DoesNotExist" (printf "!(%s)" $there)) .operator) -}}
{{- end -}}
{{- with $terms }}{{ $all = append $all (printf "(%s)" (join " && " .)) }}{{ end -}}
{{- end -}}
{{- join " || " ($all | default (list "false")) -}}
{{- end -}}

{{/* The injector's decision as variables, as a JSON list. .webhook is sidecarInjectorWebhook. */}}
{{- define "outrigger.policyVariables" -}}
{{- $root := .root -}}
{{- $injector := $root.Values.configuration.bundle.injector | default dict -}}
{{- $never := hasKey $injector "neverInjectSelector" | ternary $injector.neverInjectSelector .webhook.neverInjectSelector -}}
{{- $always := hasKey $injector "alwaysInjectSelector" | ternary $injector.alwaysInjectSelector .webhook.alwaysInjectSelector -}}
{{- $isDisabled := ne ($injector.policy | default "enabled") "enabled" -}}
{{- $inject := "sidecar.istio.io/inject" -}}
{{- $affinity := "object.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution" -}}
{{- $all := list
  (dict "name" "labels" "expression" "has(object.metadata.labels) ? object.metadata.labels : {}")
  (dict "name" "annotations" "expression" "has(object.metadata.annotations) ? object.metadata.annotations : {}")
  (dict "name" "containers" "expression" "object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : [])")
  (dict "name" "choice" "expression" (printf "'%s' in variables.labels ? variables.labels['%s'] : ('%s' in variables.annotations ? variables.annotations['%s'] : '')" $inject $inject $inject $inject))
  (dict "name" "never" "expression" (include "outrigger.anySelector" (dict "selectors" $never)))
  (dict "name" "always" "expression" (include "outrigger.anySelector" (dict "selectors" $always)))
  (dict "name" "mayOptOut" "expression" (include "outrigger.unless" (dict "root" $root "code" "BYPASS_OPTED_OUT" "optOut" true)))
  (dict "name" "mayUseHostNetwork" "expression" (include "outrigger.unless" (dict "root" $root "code" "BYPASS_HOST_NETWORK" "optOut" false)))
  (dict "name" "mayRunOnWindows" "expression" (include "outrigger.unless" (dict "root" $root "code" "SKIPPED_WINDOWS_POD" "optOut" true)))
  (dict "name" "mayChooseTemplates" "expression" (include "outrigger.unless" (dict "root" $root "code" "BYPASS_TEMPLATES" "optOut" true)))
-}}
{{- $windows := "false" -}}
{{- if eq $root.Values.configuration.compat "outrigger" -}}
{{- $windows = printf "(has(object.spec.os) && object.spec.os.name == 'windows') || (has(object.spec.nodeSelector) && ['kubernetes.io/os', 'beta.kubernetes.io/os'].exists(k, k in object.spec.nodeSelector && object.spec.nodeSelector[k] == 'windows')) || (has(object.spec.affinity) && has(object.spec.affinity.nodeAffinity) && has(%s) && %s.nodeSelectorTerms.all(t, has(t.matchExpressions) && t.matchExpressions.exists(e, has(e.values) && ((e.key in ['kubernetes.io/os', 'beta.kubernetes.io/os'] && e.operator == 'In' && e.values.size() > 0 && e.values.all(v, v == 'windows')) || (e.key == 'kubernetes.io/os' && e.operator == 'NotIn' && 'linux' in e.values)))))" $affinity $affinity -}}
{{- end -}}
{{- $all = append $all (dict "name" "windows" "expression" $windows) -}}
{{- $rules := list -}}
{{- $last := 0 -}}
{{- range $index, $rule := $root.Values.configuration.bundle.rules -}}
{{- $rules = append $rules $rule -}}
{{- if $rule.inject }}{{ $last = add1 $index }}{{ end -}}
{{- end -}}
{{- $count := int $last -}}
{{- range $index := until $count | reverse -}}
{{- $rule := index $rules $index -}}
{{- include "outrigger.commonOnly" (dict "list" "rule" "name" $rule.name "match" $rule.match) -}}
{{- $next := eq (add1 $index) $last | ternary "'none'" (printf "variables.rule%d" (add1 $index)) -}}
{{- $expression := printf "(%s) ? '%s' : %s" (include "outrigger.matches" (dict "match" $rule.match "inPolicy" true)) ($rule.inject | default "none") $next -}}
{{- $all = append $all (dict "name" (printf "rule%d" $index) "expression" $expression) -}}
{{- end -}}
{{- $all = append $all (dict "name" "rule" "expression" (gt $count 0 | ternary "variables.rule0" "'none'")) -}}
{{- $all = append $all (dict "name" "exempt" "expression" (printf "(has(object.spec.hostNetwork) && object.spec.hostNetwork) ? (variables.mayUseHostNetwork || variables.rule == 'never') : variables.windows ? (variables.mayRunOnWindows || variables.rule == 'never') : variables.rule != 'none' ? variables.rule == 'never' : variables.choice == 'true' ? false : variables.choice == 'false' ? variables.mayOptOut : variables.never ? true : variables.always ? false : %t" $isDisabled)) -}}
{{- $all | mustToJson -}}
{{- end -}}
