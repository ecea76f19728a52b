//! The laws of the house that a compiler does not know.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Who may import whom. A room missing here may import nothing.
const IMPORTS: [(&str, &str); 25] = [
    ("domain", ""),
    ("dial", "domain"),
    ("a2a", "domain dial"),
    ("stream", "domain dial"),
    ("resilience", "domain"),
    ("context", "domain"),
    ("upstream", "domain dial resilience telemetry"),
    ("guard", "domain resilience store"),
    ("experiments", "domain store"),
    ("hooks", "domain guard resilience telemetry upstream"),
    ("llm", "domain dial guard resilience upstream"),
    ("gateway", "domain dial a2a guard resilience upstream"),
    ("policy", "domain resilience"),
    ("store", "domain policy resilience"),
    ("privacy", "domain gateway store"),
    ("facts", "domain llm"),
    (
        "registry",
        "domain gateway resilience settings store upstream",
    ),
    ("synthesize", "domain llm"),
    ("route", "domain llm store telemetry"),
    (
        "orchestrate",
        "domain context resilience gateway stream llm",
    ),
    (
        "coordinator",
        "domain context route orchestrate facts synthesize policy store stream hooks resilience guard experiments metrics telemetry",
    ),
    (
        "http",
        "domain dial a2a upstream coordinator privacy registry resilience store stream route telemetry",
    ),
    ("metrics", "domain"),
    ("settings", "domain"),
    ("telemetry", "domain"),
];

/// Where foreign crates and words have their home, as path beginnings below the repository.
const HOMES: [(&str, &str); 13] = [
    ("aws_sdk_", "lib/src/store functions tests"),
    ("aws_config", "lib/src/store functions tests"),
    ("aws_sigv4", "lib/src/store"),
    ("aws_credential_types", "lib/src/store"),
    ("reqwest", "lib/src/upstream tests"),
    // What is signed by others is verified at the door; one thing is signed for others.
    (
        "ring::signature",
        "lib/src/http/auth lib/src/gateway/assertion.rs tests",
    ),
    ("axum", "lib/src/http functions tests"),
    ("lambda_http", "functions"),
    ("opentelemetry", "lib/src/telemetry functions tests"),
    ("serde_saphyr", "lib/src/settings"),
    (
        "use cel::",
        "lib/src/domain/condition lib/src/domain/situation",
    ),
    ("std::env::", "lib/src/settings tests"),
    ("StatusCode", "lib/src/http tests"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Every source file of ours: path below the repository, and text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["lib/src", "functions", "tests"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path
                .strip_prefix(root())
                .unwrap()
                .to_string_lossy()
                .into_owned();
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs")
}

/// The text before the tests that stand below the code.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

fn room(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("lib/src/")?;
    rest.split('/')
        .next()?
        .strip_suffix(".rs")
        .or_else(|| rest.split('/').next())
}

/// Rooms named in `crate::room` paths, also inside braces.
fn imported(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let word = |text: &str| {
            text.chars()
                .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                .collect()
        };
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(
                group
                    .split('}')
                    .next()
                    .unwrap()
                    .split(',')
                    .map(|part| word(part.trim())),
            ),
            None => {
                rooms.insert(word(rest));
            }
        }
    }
    rooms
}

#[test]
fn rooms_import_only_whom_they_may() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(from) = room(&path).filter(|room| *room != "lib") else {
            continue;
        };
        let Some((_, allowed)) = IMPORTS.iter().find(|(room, _)| *room == from) else {
            wrong.push(format!("{path}: the room {from} is not in the table"));
            continue;
        };
        if is_test(&path) {
            continue;
        }
        for to in imported(production(&text)) {
            if to != from && !allowed.split(' ').any(|room| room == to) {
                wrong.push(format!("{path}: {from} may not import {to}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn foreign_crates_stay_in_their_homes() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if path == "tests/architecture.rs" {
            continue;
        }
        for (name, homes) in HOMES {
            let used = production(&text)
                .lines()
                .any(|line| line.split("//").next().unwrap().contains(name));
            if used && !homes.split(' ').any(|home| path.starts_with(home)) {
                wrong.push(format!("{path} uses {name}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn files_open_with_their_job_and_stay_small() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") && !is_test(&path) {
            wrong.push(format!("{path} does not open with its job"));
        }
        let lines = production(&text)
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count();
        if !is_test(&path) && lines > 400 {
            wrong.push(format!("{path} has {lines} lines"));
        }
        // The one door in front of all rooms has more than one lock.
        let deep = path.matches('/').count() > 3 && !path.starts_with("lib/src/http/auth/");
        if path.starts_with("lib/src/") && !is_test(&path) && deep {
            wrong.push(format!("{path} is deeper than room/file.rs"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn pure_rooms_never_wait() {
    for (path, text) in sources() {
        let pure = [
            "lib/src/domain/",
            "lib/src/dial/",
            "lib/src/resilience/",
            "lib/src/context",
        ];
        // The one retry loop is the one exception.
        let loops = path == "lib/src/resilience/retry.rs";
        if !loops && pure.iter().any(|room| path.starts_with(room)) {
            assert!(!production(&text).contains(".await"), "{path}");
        }
    }
}

/// Fields of structs that are named after credentials, and are of a type that prints and is not wiped.
fn bare_credentials(text: &str) -> Vec<&str> {
    let named = |field: &str| {
        let last = field.rsplit('_').next().unwrap_or_default();
        [
            "key",
            "keys",
            "secret",
            "secrets",
            "password",
            "credential",
            "token",
        ]
        .contains(&last)
    };
    text.lines()
        .map(|line| {
            line.trim()
                .trim_start_matches("pub ")
                .trim_start_matches("pub(super) ")
        })
        .filter(|line| {
            let field = line
                .strip_suffix(',')
                .and_then(|line| line.split_once(": "));
            field.is_some_and(|(field, kind)| {
                let declared = ["String", "Option<", "Vec<", "Arc<", "Box<", "&"]
                    .iter()
                    .any(|beginning| kind.starts_with(beginning));
                // A table's key is an address, and a keyring holds zeroized ones.
                let safe = ["Secret", "Zeroizing", "&Key", "Keyring", "HookKey"]
                    .iter()
                    .any(|word| kind.contains(word));
                named(field) && declared && !safe
            })
        })
        .collect()
}

#[test]
fn credentials_are_of_a_type_that_does_not_print_and_is_wiped() {
    // The document as it is written, before variables are put into it; and keys that are public.
    let exempt = [
        "lib/src/settings/document.rs",
        "lib/src/settings/written.rs",
        "lib/src/settings/hooks.rs",
        "lib/src/http/auth/keys.rs",
        "lib/src/http/auth/token.rs",
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if path.starts_with("lib/src/") && !is_test(&path) && !exempt.contains(&path.as_str()) {
            let found = bare_credentials(production(&text));
            wrong.extend(found.iter().map(|line| format!("{path}: {line}")));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let sample = "pub api_key: Option<String>,\n    state_keys: Secret,\n    prompt_tokens: u64,\n    key: &self.key,";
    assert_eq!(
        bare_credentials(sample),
        ["api_key: Option<String>,", "key: &self.key,"]
    );
}

#[test]
fn owners_are_made_from_verified_credentials_alone() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        // The operator's commands name whose data they are about.
        let may = path.starts_with("lib/src/http/auth") || path.starts_with("functions/");
        if !is_test(&path) && !may && production(&text).contains("Owner::new(") {
            wrong.push(path);
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let ids = std::fs::read_to_string(root().join("lib/src/domain/ids.rs")).unwrap();
    assert!(!ids.contains("pub tenant:") && !ids.contains("pub id:"));
}

#[test]
fn keys_of_the_table_cannot_be_made_outside_its_room() {
    let room = std::fs::read_to_string(root().join("lib/src/store/mod.rs")).unwrap();
    assert!(room.contains("\nmod keys;"), "the keys are private");
    assert!(!room.contains("use keys"), "and are not handed out");
}

#[test]
fn the_law_finds_what_it_is_for() {
    let text = "use crate::{store::Table, http};\nuse crate::llm;\n";
    assert_eq!(
        imported(text),
        ["http", "llm", "store"].map(String::from).into()
    );
    assert_eq!(room("lib/src/dial/sse.rs"), Some("dial"));
    assert_eq!(room("lib/src/context.rs"), Some("context"));
}

#[test]
fn every_package_inherits_the_lints_that_forbid_unsafe_code() {
    let manifest = |folder: &str| {
        let path = root().join(folder).join("Cargo.toml");
        std::fs::read_to_string(path).unwrap()
    };
    let workspace = manifest("");
    assert!(workspace.contains("\n[workspace.lints.rust]\nunsafe_code = \"forbid\"\n"));
    let members = workspace
        .lines()
        .find_map(|line| line.strip_prefix("members = "))
        .unwrap();
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.len() >= 4, "{members:?}");
    for member in members {
        let text = manifest(member);
        assert!(text.contains("\n[lints]\nworkspace = true\n"), "{member}");
    }
}

#[test]
fn what_is_released_checks_its_arithmetic() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let release = manifest.split("\n[profile.release]\n").nth(1).unwrap();
    let release = release.split("\n[").next().unwrap();
    assert!(release.contains("\noverflow-checks = true\n"), "{release}");
    // Parts of the release profile cannot take it back.
    assert!(!manifest.contains("overflow-checks = false"));
}

/// The rows of a document's tables: the first cell, and the tests that the last one names.
fn rows(document: &str) -> Vec<(String, Vec<String>)> {
    let path = root().join("docs").join(document);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("| "));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let named = cells.last().unwrap().split('`').skip(1).step_by(2);
            (cells[0].to_owned(), named.map(str::to_owned).collect())
        })
        .skip(1)
        .collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let sources: String = sources().into_iter().map(|(_, text)| text).collect();
    let exists = |test: &str| {
        let at = sources.find(&format!("fn {test}("))?;
        let before: Vec<&str> = sources[..at].lines().rev().take(4).collect();
        before
            .iter()
            .any(|line| line.contains("test"))
            .then_some(())
    };
    for (document, most) in [
        ("reference-defects.md", 25),
        ("reliability.md", 150),
        ("features.md", 100),
    ] {
        let tests: Vec<String> = rows(document)
            .into_iter()
            .flat_map(|(_, tests)| tests)
            .collect();
        for test in &tests {
            assert!(exists(test).is_some(), "{test} in {document}");
        }
        assert!(
            tests.len() > most,
            "only {} tests in {document}",
            tests.len()
        );
    }
}

#[test]
fn every_page_that_a_document_names_exists() {
    let docs = root().join("docs");
    let mut links = 0;
    for page in std::fs::read_dir(&docs).unwrap() {
        let page = page.unwrap().path();
        if page.extension().is_none_or(|kind| kind != "md") {
            continue;
        }
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(docs.join(target).exists(), "{target} in {}", page.display());
                links += 1;
            }
        }
    }
    assert!(links > 60, "only {links} links");
}

/// The required behaviours, by the tens of their ids.
const BEHAVIOURS: [(u32, u32); 10] = [
    (1, 7),
    (10, 20),
    (21, 27),
    (30, 32),
    (40, 47),
    (50, 59),
    (60, 66),
    (70, 74),
    (80, 84),
    (90, 90),
];

#[test]
fn every_required_behaviour_has_a_test_that_shows_it() {
    let wanted: Vec<String> = (BEHAVIOURS.into_iter())
        .flat_map(|(first, last)| first..=last)
        .map(|id| format!("R-{id:02}"))
        .collect();
    let rows = rows("reliability.md");
    let found: Vec<&String> = rows.iter().map(|(id, _)| id).collect();
    assert_eq!(found, wanted.iter().collect::<Vec<_>>());
    for (id, tests) in rows {
        assert!(!tests.is_empty(), "nothing shows {id}");
    }
}
