//! `outrigger tag list`: lists the tags with their revisions and users.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    super::{
        cluster::Cluster,
        failure::Failure,
        files,
        report::{self, Color},
        webhook::probe,
    },
    configurations,
};
use crate::webhook_config::{DEFAULT_REVISION, helm_release, revision_of, tag_of};

/// List the tags: revision, namespaces that use it, and creator.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outrigger tag list")]
pub(super) struct List {
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: Form,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Table
    Table,
    /// JSON list of objects
    Json,
}

/// One tag.
struct Row {
    tag: String,
    revision: String,
    /// `None` if listing namespaces is not permitted.
    namespaces: Option<Vec<String>>,
    made_by: String,
    configuration: String,
}

impl List {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        self.cluster.run(async |session| {
            let namespaces = match probe::namespaces(session).await {
                Ok(namespaces) => Some(namespaces),
                Err(error) if error.is_forbidden() => {
                    report::warning(&error.to_string(), color);
                    None
                }
                Err(error) => return Err(error.into()),
            };
            let mut rows: Vec<Row> = configurations(session)
                .await?
                .iter()
                .filter_map(|configuration| {
                    let tag = tag_of(configuration)?;
                    Some(Row {
                        tag: tag.to_owned(),
                        revision: revision_of(configuration).unwrap_or_default().to_owned(),
                        namespaces: namespaces
                            .as_deref()
                            .map(|all| probe::using(all, tag, tag == DEFAULT_REVISION)),
                        made_by: helm_release(configuration).map_or_else(
                            || "outrigger tag".to_owned(),
                            |release| format!("Helm release {release}"),
                        ),
                        configuration: configuration
                            .pointer("/metadata/name")
                            .and_then(Value::as_str)
                            .unwrap_or_default()
                            .to_owned(),
                    })
                })
                .collect();
            rows.sort_by(|a, b| (&a.tag, &a.configuration).cmp(&(&b.tag, &b.configuration)));
            files::print(&match self.output {
                Form::Table => table(&rows),
                Form::Json => format!("{:#}\n", Value::Array(rows.iter().map(Row::json).collect())),
            })
        })
    }
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "tag": self.tag,
            "revision": self.revision,
            "namespaces": self.namespaces,
            "madeBy": self.made_by,
            "configuration": self.configuration,
        })
    }

    fn columns(&self) -> [String; 4] {
        let namespaces = match &self.namespaces {
            None => "?".to_owned(),
            Some(none) if none.is_empty() => "-".to_owned(),
            Some(some) => some.join(","),
        };
        [self.tag.clone(), self.revision.clone(), namespaces, self.made_by.clone()]
    }
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no tags found\n".to_owned();
    }
    let head = ["TAG", "REVISION", "NAMESPACES", "MADE BY"].map(str::to_owned);
    let lines: Vec<[String; 4]> = std::iter::once(head).chain(rows.iter().map(Row::columns)).collect();
    let widest = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(String::len).max().unwrap_or(0);
    let widths = [widest(0), widest(1), widest(2)];
    let padded = |line: &[String; 4]| {
        let [tag, revision, namespaces, made_by] = line;
        let [first, second, third] = widths;
        format!("{tag:first$}  {revision:second$}  {namespaces:third$}  {made_by}\n")
    };
    lines.iter().map(padded).collect()
}
