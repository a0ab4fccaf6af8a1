//! The small fixtures; all of them are checked by the integration tests.

use std::path::PathBuf;

use crate::fixture::Fixture;

fn fixture(name: &str) -> Fixture {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/fixtures");
    Fixture::unpack(&directory.join(format!("{name}.tar.zst")))
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults() {
    fixture("defaults").check().await;
    fixture("defaults").write_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn format_v1() {
    fixture("format-v1").check().await;
    fixture("format-v1").write_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indirect2() {
    fixture("indirect2").check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted() {
    fixture("interrupted").check().await;
    fixture("interrupted").write_again().await;
}
