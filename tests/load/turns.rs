//! The turns against upstreams that answer at once: one by one, in closed loops, and held in flight.

use clap::Args;

use crate::Failed;
use crate::scene::{Options, Scene};
use crate::section::{Section, joined};
use crate::turn::Turns;
use crate::{lone, loops};

#[derive(Args)]
#[group(skip)]
pub struct How {
    /// Turns measured one after another
    #[arg(long, default_value_t = 2000)]
    turns: usize,
    /// Turns before anything is measured
    #[arg(long, default_value_t = 200)]
    warm_up: usize,
    /// Turns measured at each concurrency
    #[arg(long, default_value_t = 5000)]
    loop_turns: usize,
    /// Concurrencies of the closed loops
    #[arg(long, value_delimiter = ',', default_value = "8,32")]
    concurrency: Vec<usize>,
    /// Turns held in flight while the memory is read
    #[arg(long, value_delimiter = ',', default_value = "200,1000")]
    held: Vec<usize>,
    /// How many of these may be on their way to the agent at a time
    #[arg(long, default_value_t = 32)]
    on_the_way: usize,
}

/// All of them with one program.
pub async fn run(options: &Options, how: &How) -> Result<Section, Failed> {
    let profile = options.profile()?;
    let scene = Scene::start(options).await?;
    let mas = scene.mas()?;
    let at_rest = mas.memory_kib("VmRSS")?;
    let turns = Turns::of(options.owners);
    let errors = lone::warm_up(&mas, &turns, how.warm_up).await?;
    let lone = lone::measure(&scene, &mas, &turns, how.turns).await?;
    let mut loops = Vec::new();
    for concurrency in &how.concurrency {
        let closed = loops::closed(&scene, &mas, &turns, *concurrency, how.loop_turns);
        loops.push(closed.await?);
    }
    let mut held = Vec::new();
    for count in &how.held {
        let count = loops::held(&scene, &mas, &turns, *count, how.on_the_way);
        held.push(count.await?);
    }
    let peak = mas.memory_kib("VmHWM")?;
    let told = Section {
        errors,
        said: mas.said(),
        ..Section::default()
    };
    Ok(joined(vec![
        lone.section(&profile),
        loops::section(loops),
        loops::memory(&profile, at_rest, held, peak),
        told,
    ]))
}
