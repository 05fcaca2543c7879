//! Templates that do something with the names of a pod, for the tests and the fuzz target of the patch cache.

/// What a template may do with a name.
const VALUES: &[&str] = &[
    ".ObjectMeta.Name",
    ".ObjectMeta.GenerateName",
    ".DeploymentMeta.Name",
    "(index .ObjectMeta.Labels \"pod-template-hash\")",
    "(index .ObjectMeta.OwnerReferences 0).Name",
    "(index .ObjectMeta.OwnerReferences 0).UID",
    "(index .Spec.Volumes 0).Name",
    "(last .Spec.Volumes).Name",
    "(toJson .ObjectMeta)",
    "(toYaml .ObjectMeta.OwnerReferences)",
    "(annotation .ObjectMeta `x` .ObjectMeta.Name)",
    "(printf \"%s-%v\" .ObjectMeta.Name .ObjectMeta.Labels)",
    "(list .ObjectMeta.Name .DeploymentMeta.Name | join \",\")",
    "(dict \"a\" .ObjectMeta.Name).a",
    "(len .Spec.Volumes)",
    ".Spec.Hostname",
    ".TypeMeta.Kind",
    "(index .ObjectMeta.Labels \"job-name\")",
    "(index .ObjectMeta.Labels \"apps.kubernetes.io/pod-index\")",
    "(index .ObjectMeta.Annotations \"batch.kubernetes.io/job-completion-index\")",
    "(index .ObjectMeta.Annotations \"kubectl.kubernetes.io/last-applied-configuration\")",
    "(toJson .Spec.Affinity)",
    "(toJson .Spec.Volumes)",
];

const FILTERS: &[&str] = &[
    "",
    " | quote",
    " | upper",
    " | trunc 12",
    " | trunc 63",
    " | trimAll \"-_.\"",
    " | trimSuffix \"-\"",
    " | trunc -4",
    " | len",
    " | b64enc",
    " | sha256sum",
    " | replace \"-\" \"\"",
    " | trimPrefix \"made-\"",
    " | contains \"1\"",
    " | regexFind \"[0-9]+\"",
    " | splitList \"-\" | last",
    " | atoi",
    " | int",
    " | toString",
    " | default \"d\"",
    " | squote",
    " | indent 2",
    " | eq \"made-123456789-\"",
    " | hasPrefix \"made\"",
    " | empty",
    " | kindOf",
    " | fromJson",
    " | fromYaml",
    " | toYaml",
    " | printf \"%q\"",
    " | printf \"%5.8s\"",
    " | semver",
    " | reverse",
    " | not",
    " | and true",
    " | or \"x\"",
    " | cat \"x\"",
    " | repeat 2",
    " | html",
    " | print",
    " | title",
    " | nospace",
    " | lower | trim",
];

/// Where a text goes; `@` stands for the text, `%` for the value that is examined.
const PLACES: &[&str] = &[
    "metadata:\n  labels:\n    a: @\n",
    "metadata:\n  annotations:\n    a: \"@\"\n",
    "metadata:\n  annotations: {\"k-@\": v}\n",
    "spec:\n  hostname: @\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: x\n    args: [@, 'a-@']\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: x\n    env:\n    - name: A\n      value: \"@\"\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: x\n    env:\n    - name: @\n      value: b\n",
    "spec:\n  containers:\n  - name: @\n    image: x\n",
    "spec:\n  volumes:\n  - name: @\n    emptyDir: {}\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: x\n    command:\n    - @\n    - |\n      @\n",
    "{{ if % }}\nspec:\n  hostname: h\n{{ end }}\n",
    "metadata:\n  labels:\n    b: {{ if % }}yes{{ else }}no{{ end }}\n",
    "{{ with % }}\nmetadata:\n  labels:\n    c: \"{{ . }}\"\n{{ end }}\n",
    "{{ range $k, $v := .ObjectMeta.Labels }}\n# {{ $k }} {{ $v }}\n{{ end }}\nmetadata:\n  labels:\n    d: @\n",
    "metadata:\n  annotations:\n    e: {{ $x := % }}{{ $x }}{{ $x | quote }}\n",
    "spec:\n  nodeSelector:\n    f: @\n",
    "spec:\n  containers:\n  - name: istio-proxy\n    image: x\n    env:\n    - name: ISTIO_META_DNS_CAPTURE\n      value: \"@\"\n    - name: DISABLE_ENVOY\n      value: \"@\"\n",
    "metadata:\n  labels:\n    job-name: x\n    statefulset.kubernetes.io/pod-name: @\n",
    "spec:\n  volumes:\n  - name: data\n    persistentVolumeClaim:\n      claimName: x\n  hostname: d\n",
    "spec:\n  tolerations:\n  - key: a\n    value: \"@\"\n  - key: a\n    value: x\n",
    "spec:\n  terminationGracePeriodSeconds: @\n",
    "metadata:\n  labels:\n    pod-template-hash: @\n",
];

/// A template built from choices, each of which is a number below the given one.
pub(crate) fn template(mut choose: impl FnMut(usize) -> usize) -> String {
    let mut pick = |all: &'static [&'static str]| all.get(choose(all.len())).copied().unwrap_or_default();
    let mut pipeline = pick(VALUES).to_owned();
    // Two filters at most, of which the first one of the list does nothing.
    for _ in 0..2 {
        pipeline.push_str(pick(FILTERS));
    }
    pick(PLACES).replace('@', &format!("{{{{ {pipeline} }}}}")).replace('%', &format!("({pipeline})"))
}
