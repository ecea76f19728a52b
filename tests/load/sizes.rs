//! How large the built programs are.

use std::path::Path;

use crate::Failed;
use crate::scene::Options;
use crate::section::Section;

/// Each figure's name, and its file below the folder that cargo builds into.
const FILES: [(&str, &str); 7] = [
    ("zip.chat_bytes", "lambda/chat/bootstrap.zip"),
    ("zip.health_bytes", "lambda/health/bootstrap.zip"),
    ("zip.api_bytes", "lambda/api/bootstrap.zip"),
    ("arm64.chat_bytes", "aarch64-unknown-linux-gnu/release/chat"),
    ("release.chat_bytes", "release/chat"),
    ("release.api_bytes", "release/api"),
    ("release.mas_bytes", "release/mas"),
];

/// Those that are there, if their names begin as wanted.
pub fn measure(options: &Options, wanted: impl Fn(&str) -> bool) -> Result<Section, Failed> {
    let program = std::path::absolute(options.program("mas")?)?;
    let target = program.parent().and_then(Path::parent);
    let target = target.ok_or("the programs lie in no folder of cargo's")?;
    let mut section = Section::default();
    let mut json = serde_json::Map::new();
    for (name, file) in FILES.iter().filter(|(name, _)| wanted(name)) {
        let Ok(metadata) = std::fs::metadata(target.join(file)) else {
            continue;
        };
        let bytes = u32::try_from(metadata.len()).unwrap_or(u32::MAX);
        section.say(&format!("{file}: {:.2} MB\n", f64::from(bytes) / 1e6));
        section.figure(*name, f64::from(bytes));
        json.insert((*name).into(), bytes.into());
    }
    section.put("sizes", json.into());
    Ok(section)
}
