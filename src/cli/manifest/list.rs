//! `larder manifest list`

use std::cmp::Ordering;

use anyhow::bail;
use larder::manifest::{Labels, Manifest, TYPE_LABEL};
use serde::Serialize;

use crate::cli::app::App;
use crate::cli::args::JsonArgs;
use crate::cli::output::{JsonList, Output};
use crate::cli::units::time;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder manifest list --filter type:policy
  larder manifest list --filter type:snapshot --filter hostname:laptop --sort path")]
pub(in crate::cli) struct Args {
    /// Only manifests with this label
    #[arg(long, value_name = "LABEL:VALUE")]
    filter: Vec<String>,
    /// By which labels to sort; those that are equal, by time
    #[arg(long, value_name = "LABEL")]
    sort: Vec<String>,
    #[command(flatten)]
    json: JsonArgs,
}

#[derive(Serialize)]
struct Item<'a> {
    id: String,
    length: usize,
    labels: &'a Labels,
    mtime: jiff::Timestamp,
}

pub(super) async fn run(app: &App, args: Args) -> anyhow::Result<()> {
    let filter = args.filter()?;
    let repository = app.open().await?;
    let manifests = app.manifests(&repository).await?;
    let mut found: Vec<&Manifest> = manifests.find(&filter).collect();
    found.sort_by(|a, b| args.order(a, b));
    if args.json.json {
        let mut list = JsonList::begin(args.json)?;
        for Manifest { id, labels, modified, data } in found {
            list.item(&Item { id: id.to_string(), length: data.get().len(), labels, mtime: *modified })?;
        }
        return list.end();
    }
    let mut out = Output::new();
    for Manifest { id, labels, modified, data } in found {
        let mut sorted: Vec<_> = labels.iter().collect();
        sorted.sort_by_key(|(key, _)| *key != TYPE_LABEL);
        let labels: Vec<String> = sorted.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        out.line(format!("{id} {:>10} {} {}", data.get().len(), time(*modified, app.zone()), labels.join(" ")))?;
    }
    out.finish()
}

impl Args {
    fn filter(&self) -> anyhow::Result<Labels> {
        let mut labels = Labels::new();
        for text in &self.filter {
            let Some((key, value)) = text.split_once(':').filter(|(key, _)| !key.is_empty()) else {
                bail!("invalid --filter {text:?}: it must be label:value, such as type:snapshot");
            };
            // Labels of tags have a colon in their keys.
            let (key, value) = match (key, value.split_once(':')) {
                ("tag", Some((tag, value))) => (format!("tag:{tag}"), value),
                _ => (key.to_owned(), value),
            };
            labels.insert(key, value.to_owned());
        }
        Ok(labels)
    }

    fn order(&self, a: &Manifest, b: &Manifest) -> Ordering {
        let by_label = self.sort.iter().map(|label| a.labels.get(label).cmp(&b.labels.get(label)));
        by_label.fold(Ordering::Equal, Ordering::then).then_with(|| (a.modified, a.id).cmp(&(b.modified, b.id)))
    }
}
