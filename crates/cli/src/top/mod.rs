//! `offtake top`: groups, partitions and members on the whole screen.
//!
//! [`App`] is the state: keys and reports go in. `draw` makes a frame of it. This is the loop that owns the
//! terminal and the connections.

mod app;
mod draw;
mod history;
mod keys;
mod order;
mod picture;
mod terminal;

use std::{io::IsTerminal, time::Duration};

use offtake_lag::OffsetsTopicConfig;

use crate::{
    args::{Common, Top},
    clock::now,
    failure::Failure,
    stop::Stop,
    watching::Watching,
};
use app::{App, Flow};
use terminal::Terminal;

pub(crate) async fn run(common: &Common, args: Top) -> Result<(), Failure> {
    if args.screenshot.is_none() && !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return Err(Failure::Usage(
            "`offtake top` needs a terminal; without one, `offtake lag --watch` prints the same".to_owned(),
        ));
    }
    let mut source = Watching::new(common, &args.watch, OffsetsTopicConfig::default())?;
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let mut app = App::new(args.interval, args.screenshot.is_some() || !plain);
    if let Some(path) = args.screenshot {
        return picture::run(&mut source, app, args.rounds, &args.press, &path).await;
    }
    let mut stop = Stop::listen_with_exit_hook(terminal::restore)?;
    let mut terminal = Terminal::open()?;
    let shown = stop.or(show(&mut terminal, &mut app, &mut source, args.interval)).await;
    drop(terminal); // the rest belongs on the normal screen
    shown.unwrap_or(Ok(()))
}

async fn show(
    terminal: &mut Terminal,
    app: &mut App,
    source: &mut Watching,
    interval: Duration,
) -> Result<(), Failure> {
    loop {
        let next = now() + interval;
        {
            let mut round = std::pin::pin!(source.round());
            loop {
                terminal.draw(app)?;
                tokio::select! {
                    key = terminal.key() => if app.on_key(key) == Flow::Leave { return Ok(()) },
                    report = round.as_mut() => {
                        app.on_round(report);
                        break;
                    }
                }
            }
        }
        loop {
            terminal.draw(app)?;
            tokio::select! {
                key = terminal.key() => if app.on_key(key) == Flow::Leave { return Ok(()) },
                () = tokio::time::sleep_until(next.into()) => break,
            }
        }
    }
}
