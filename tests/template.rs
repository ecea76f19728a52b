//! The template, the README and the code say the same.

use std::collections::BTreeSet;
use std::path::Path;

use coordinator::metrics::CATALOGUE;
use coordinator::settings::VARIABLES;

/// Variables that make sense on a developer's machine alone.
const LOCAL: [&str; 6] = [
    "MAS_PORT",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_S3",
    "MAS_DISCOVERY",
    "AWS_ENDPOINT_URL_SSM",
];

fn file(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names in the template's environment block.
fn environment(template: &str) -> BTreeSet<String> {
    let block = template
        .split("      Variables:\n")
        .nth(1)
        .expect("an environment in Globals");
    block
        .lines()
        .take_while(|line| {
            line.starts_with("        ") || line.trim().is_empty() || line.trim().starts_with('#')
        })
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(name, _)| name.to_owned())
        .filter(|name| {
            name.chars()
                .all(|letter| letter.is_ascii_uppercase() || letter == '_')
        })
        .collect()
}

#[test]
fn the_template_sets_every_variable_and_no_other() {
    let wanted: BTreeSet<String> = VARIABLES
        .iter()
        .filter(|name| !LOCAL.contains(name))
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(environment(&file("infra/template.yaml")), wanted);
}

#[test]
fn the_readme_explains_every_variable() {
    let readme = file("README.md");
    let missing: Vec<_> = VARIABLES
        .iter()
        .filter(|name| !readme.contains(&format!("`{name}`")))
        .collect();
    assert_eq!(missing, Vec::<&&str>::new());
}

#[test]
fn every_function_has_a_binary_and_a_resource() {
    let manifest = file("functions/Cargo.toml");
    let template = file("infra/template.yaml");
    let names = |text: &str, before: &str| -> BTreeSet<String> {
        let parts = text.split(before).skip(1);
        parts
            .map(|part| part.split(['"', '\n']).next().unwrap().trim().to_owned())
            .collect()
    };
    let mut binaries = names(&manifest, "[[bin]]\nname = \"");
    assert!(binaries.remove("mas"), "mas is the local one");
    assert_eq!(names(&template, "Binary: "), binaries);
}

#[test]
fn settings_are_read_nowhere_else() {
    let parts = [
        "agents",
        "callers",
        "hooks",
        "over",
        "rules",
        "telemetry",
        "whence",
    ]
    .map(|part| file(&format!("lib/src/settings/{part}.rs")));
    let source = file("lib/src/settings.rs") + &parts.concat() + &file("functions/compose.rs");
    for name in VARIABLES {
        let known = source.matches(name).count() >= 2 || file("infra/agents.yaml").contains(name);
        assert!(known, "{name} is listed but never read");
    }
}

#[test]
fn every_function_may_read_what_its_settings_refer_to() {
    let template = file("infra/template.yaml");
    let functions = template.matches("Type: AWS::Serverless::Function").count();
    // They all read the same variables, and the same document.
    for what in ["Sid: Secrets\n", "Sid: Agents\n"] {
        assert_eq!(template.matches(what).count(), functions, "{what}");
    }
}

#[test]
fn what_alarms_watch_is_counted() {
    let template = file("infra/template.yaml");
    let watched = template.split("MetricName: ").skip(1);
    let watched = watched.filter_map(|rest| rest.split_whitespace().next());
    let watched: Vec<&str> = watched.filter(|name| name.starts_with("mas_")).collect();
    assert!(watched.contains(&"mas_capabilities_dropped_total"));
    for name in watched {
        assert!(CATALOGUE.iter().any(|metric| metric.name == name), "{name}");
    }
}
