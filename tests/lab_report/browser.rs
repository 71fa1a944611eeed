//! Debian's Chromium, headless: it lays pages out, and tells where everything came to be.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hopsync::lab::run::run;
use serde::Deserialize;

/// The longest that laying out takes, on a loaded machine too.
const DEADLINE: Duration = Duration::from_secs(120);

/// A page at one width, in light or dark.
#[derive(Debug, Deserialize)]
pub struct Measured {
    pub page: String,
    pub width: u32,
    pub dark: bool,
    /// The colour of the ground.
    pub ground: String,
    /// The bars of each figure that is to be seen.
    pub figures: BTreeMap<String, Vec<Bar>>,
    pub texts: u32,
    /// What overlaps, leaves its place, or can not be seen.
    pub problems: Vec<String>,
    /// What was asked for over a network, or from a file.
    pub requests: Vec<String>,
    /// Elements that could do or load something.
    pub foreign: Vec<String>,
    /// Whether something from outside ran.
    pub harmed: bool,
}

#[derive(Debug, Deserialize)]
pub struct Bar {
    pub kind: String,
    pub n: f64,
    pub of: f64,
    pub length: f64,
}

/// Shows each page at two widths, light and dark. `dir` is for what the browser keeps.
pub fn measure(dir: &Path, pages: &[(&str, &str)]) -> Result<Vec<Measured>, Box<dyn Error>> {
    let attribute = |text: &str| text.replace('&', "&amp;").replace('"', "&quot;");
    let sources: String = pages
        .iter()
        .map(|(name, page)| format!("<div id=\"{name}\" data-source=\"{}\"></div>\n", attribute(page)))
        .collect();
    let script = include_str!("measure.js");
    let frames = dir.join("frames.html");
    let head = "<!DOCTYPE html><meta charset=\"utf-8\">";
    fs::write(&frames, format!("{head}<body>\n{sources}<script>\n{script}</script>\n</body>\n"))?;
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
        ])
        // It finds nothing on any network, whatever it would like to.
        .arg("--host-resolver-rules=MAP * ~NOTFOUND")
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .args(["--window-size=1100,900", "--dump-dom"])
        .arg(format!("file://{}", frames.display()))
        // What else it keeps goes with the folder.
        .env("HOME", dir)
        .env("XDG_CONFIG_HOME", dir)
        .env("XDG_CACHE_HOME", dir);
    let output = run(command, DEADLINE)?;
    let dom = output.out();
    let json = dom.split_once("<pre id=\"measured\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let json =
        json.ok_or_else(|| format!("chromium ended with {} and measured nothing: {}", output.code, output.err()))?;
    let json = json.0.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&");
    serde_json::from_str(&json).map_err(|error| format!("{error}: {json}").into())
}
