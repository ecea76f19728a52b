//! How soon `mas` is ready, and how much memory it takes then.

use crate::Failed;
use crate::process::Mas;
use crate::scene::{Options, Scene};
use crate::section::Section;
use crate::spread::{MEDIAN, P90, Spread};

/// Starts it so many times each: with everything embedded, as it starts without any setting, and pointed to all that
/// it needs elsewhere.
pub async fn run(options: &Options, starts: usize) -> Result<Section, Failed> {
    let program = options.program("mas")?;
    let profile = options.profile()?;
    let scene = Scene::start(options).await?;
    let quiet = vec![("MAS_LOG", "warn".to_owned())];
    let mut section = Section::default();
    let cases = [
        ("embedded", "with stand-ins and table", quiet),
        ("connected", "connected elsewhere", scene.environment()),
    ];
    for (key, label, environment) in cases {
        let (mut ready, mut rss) = (Spread::default(), Spread::default());
        for _ in 0..starts {
            let mas = Mas::start(&program, &environment, None)?;
            ready.add(mas.ready);
            rss.add_kib(mas.memory_kib("VmRSS")?);
        }
        section.say(&format!(
            "mas {label}: ready {:.1} ms after its start (p90 {:.1}), with {:.1} MiB; {starts} starts\n",
            ready.at(MEDIAN) / 1e3,
            ready.at(P90) / 1e3,
            rss.at(MEDIAN) / 1024.0,
        ));
        let name = format!("{profile}.mas_{key}_rss_kib");
        section.figure(name, rss.at(MEDIAN));
        let json = serde_json::json!({
            "starts": starts,
            "ready_us": ready.json(&[MEDIAN, P90]),
            "rss_kib": rss.at(MEDIAN),
        });
        section.put(&format!("mas_{key}"), json);
    }
    Ok(section)
}
