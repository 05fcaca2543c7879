//! `outrigger inject`: reads manifests and prints injected ones.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{
    failure::Failure,
    files::{self, Input},
    output::{self, Form},
    registered,
    report::{self, Color},
    source::{Configured, Purpose, Source},
    workloads,
};
use crate::{
    inject::{
        Rules,
        manual::{self, Manifest, Options, Verdict},
    },
    manifest::TemplatePath,
};

/// Inject pod templates in manifests, as the webhook would inject their pods.
///
/// The result goes to stdout, one line per object to stderr. All inputs are read and injected before anything is
/// written; if one of them is unusable, nothing is written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger inject -f deployment.yaml | kubectl apply -f -
  outrigger inject -f deploy/ -R --bundle bundle.yaml --in-place
  outrigger inject -f deployment.yaml --from-cluster -o diff
  outrigger inject -f pool.yaml --pod-template-path spec.groups.*.template")]
pub(super) struct Inject {
    /// Manifest in YAML or JSON, directory of manifests, or - for stdin; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// Read directories recursively
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Namespace of objects that specify none
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "yaml")]
    output: Form,
    /// Write to this file instead of stdout, atomically; it may be an input
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Write every changed file back in place, atomically
    #[arg(long, conflicts_with_all = ["output", "output_file"])]
    in_place: bool,
    /// Path of a pod template in another kind, if it is not recognized by its shape, such as spec.worker.template; `*`
    /// is every element of a list or entry of a map; may be repeated
    #[arg(long = "pod-template-path", value_name = "PATH")]
    template_paths: Vec<TemplatePath>,
    /// Write nothing and exit with 2 if a pod template is skipped, or if there is a warning; separated by commas
    #[arg(long, value_name = "RESULT", value_delimiter = ',')]
    fail_on: Vec<FailOn>,
    /// Report only denied objects
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    source: Source,
}

/// A result that CI may want to stop at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A pod template is not injected
    Skip,
    /// There is a warning about a manifest
    Warning,
}

impl Inject {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let inputs = files::read_all(&self.files, self.recursive)?;
        if self.in_place && inputs.iter().any(|input| input.path.is_none()) {
            return Err(Failure::usage("--in-place cannot be used with stdin (-)"));
        }
        let configured = self.source.load(Purpose::Decide)?;
        if !self.quiet {
            configured.report(color);
        }
        let remarks = configured.check()?;
        if !self.quiet {
            report::configuration(&remarks, color);
        }
        let manifests = self.inject_all(&configured, &inputs)?;
        let refused =
            manifests.iter().flat_map(Manifest::rows).filter(|row| row.verdict.is_refusal()).count();
        let not_accepted = self.not_accepted(&manifests);
        if refused == 0 && not_accepted.is_empty() {
            output::write(self.output, self.output_file.as_deref(), self.in_place, &inputs, &manifests)?;
        }
        for (input, manifest) in inputs.iter().zip(&manifests) {
            report::manifest(&input.name, manifest, self.quiet, color);
        }
        if !self.quiet {
            self.report_oddities(&inputs, &manifests, color);
            if self.source.is_cluster() {
                self.report_uncalled(&configured, &inputs, &manifests, color)?;
            }
        }
        match refused {
            0 if not_accepted.is_empty() => Ok(()),
            0 => {
                let found = not_accepted.join(" and ");
                Err(Failure::not_accepted(format!("{found} with --fail-on; nothing was written")))
            }
            1 => Err(Failure::data("1 object was denied; nothing was written")),
            _ => Err(Failure::data(format!("{refused} objects were denied; nothing was written"))),
        }
    }

    /// The results that `--fail-on` does not accept, with their number.
    fn not_accepted(&self, manifests: &[Manifest<'_>]) -> Vec<String> {
        let rows = || manifests.iter().flat_map(Manifest::rows);
        let count = |fail_on: FailOn| match fail_on {
            FailOn::Skip => {
                let is_skip =
                    |verdict: &Verdict| matches!(verdict, Verdict::Skipped(_) | Verdict::LeftAlone(_));
                rows().filter(|row| is_skip(&row.verdict)).count()
            }
            FailOn::Warning => {
                let of_rows = rows().flat_map(|row| &row.warnings).filter(|warning| warning.is_shown());
                let of_texts = manifests
                    .iter()
                    .map(|manifest| manifest.duplicates().count() + manifest.rewrites().count());
                of_rows.count() + of_texts.sum::<usize>() + self.unmatched_paths(manifests).count()
            }
        };
        let described = |fail_on: FailOn| {
            let noun = match fail_on {
                FailOn::Skip => "skipped pod template",
                FailOn::Warning => "warning",
            };
            match count(fail_on) {
                0 => None,
                1 => Some(format!("found 1 {noun}")),
                count => Some(format!("found {count} {noun}s")),
            }
        };
        [FailOn::Skip, FailOn::Warning]
            .into_iter()
            .filter(|fail_on| self.fail_on.contains(fail_on))
            .filter_map(described)
            .collect()
    }

    /// The given paths that lead to no pod template.
    fn unmatched_paths<'s>(
        &'s self,
        manifests: &'s [Manifest<'_>],
    ) -> impl Iterator<Item = &'s TemplatePath> {
        let is_matched =
            |path: &TemplatePath| manifests.iter().any(|manifest| manifest.has_template_at(path));
        self.template_paths.iter().filter(move |path| !is_matched(path))
    }

    fn inject_all<'i>(
        &self,
        configured: &Configured,
        inputs: &'i [Input],
    ) -> Result<Vec<Manifest<'i>>, Failure> {
        let options = Options {
            mesh: &configured.mesh,
            rules: Rules::Configured,
            namespace: &self.namespace,
            template_paths: self.template_paths.clone(),
        };
        let inject = |input: &'i Input| {
            manual::inject(&input.text, &options)
                .map_err(|error| Failure::data(format!("{}:{error}", input.name)))
        };
        inputs.iter().map(inject).collect()
    }

    /// Warns about pods that are injected here, and that the cluster's API server would send to no injector of ours.
    fn report_uncalled(
        &self,
        configured: &Configured,
        inputs: &[Input],
        manifests: &[Manifest<'_>],
        color: Color,
    ) -> Result<(), Failure> {
        let registered = match self.source.cluster().run(async |session| registered::read(session).await) {
            Ok(registered) => registered,
            // The manifests are injected in any case.
            Err(failure) => {
                let text =
                    format!("cannot tell whether API servers call outrigger for these pods: {failure}");
                report::warning(&text, color);
                return Ok(());
            }
        };
        for (input, manifest) in inputs.iter().zip(manifests) {
            let text = (input.name.clone(), input.text.clone());
            for subject in workloads::subjects(configured, &self.namespace, &[text])? {
                let is_injected = |row: &manual::Row| {
                    row.object == subject.object
                        && row.place == subject.place
                        && matches!(row.verdict, Verdict::Injected { .. })
                };
                let namespace = configured.mesh.namespace(&registered::namespace_of(&subject.request));
                let called =
                    registered.called(&subject.request, namespace.map(|namespace| &namespace.labels));
                if manifest.rows().any(is_injected)
                    && !called.iter().any(|called| called.is_ours && called.may_be_selected())
                {
                    let manual::Subject { object, .. } = &subject;
                    let text = format!(
                        "{}: {} {} is injected here only: the API server calls no webhook of outrigger for its pods; outrigger \
                         explain -f says why",
                        input.name, object.kind, object.name
                    );
                    report::warning(&text, color);
                }
            }
        }
        Ok(())
    }

    /// Warns about likely mistakes in a manifest or on the command line.
    fn report_oddities(&self, inputs: &[Input], manifests: &[Manifest<'_>], color: Color) {
        for (input, manifest) in inputs.iter().zip(manifests) {
            report::duplicates(&input.name, manifest, color);
            report::rewrites(&input.name, manifest, color);
        }
        for path in self.unmatched_paths(manifests) {
            let text = format!(
                "--pod-template-path {path} matches no pod template in any object; expected the keys from an object \
                 down to what holds `spec.containers`"
            );
            report::warning(&text, color);
        }
    }
}
