//! `offtake completions` and `offtake man`: the files that a package installs beside the command.

use std::{fs, path::Path};

use clap::Command;

use crate::{
    args::{Cli, Completions, Man},
    failure::Failure,
    output::Output,
};

pub(crate) fn completions(args: &Completions) -> Result<(), Failure> {
    let mut output = Output::stdout();
    clap_complete::generate(args.shell, &mut Cli::definition(), "offtake", output.buffer());
    Ok(output.flush()?)
}

pub(crate) fn man(args: &Man) -> Result<(), Failure> {
    let mut command = Cli::definition();
    command.build(); // gives every command its full name and the global options
    if let Some(folder) = &args.dir {
        return pages(&command, folder);
    }
    let mut page = &command;
    for name in &args.command {
        let unknown = || Failure::Usage(format!("there is no command `offtake {}`", args.command.join(" ")));
        page = page.find_subcommand(name).ok_or_else(unknown)?;
    }
    let mut output = Output::stdout();
    page_of(page).render(output.buffer())?;
    Ok(output.flush()?)
}

fn page_of(command: &Command) -> clap_mangen::Man {
    clap_mangen::Man::new(command.clone()).source(concat!("offtake ", env!("CARGO_PKG_VERSION")))
}

/// Writes the pages of a command and of all its subcommands.
fn pages(command: &Command, folder: &Path) -> Result<(), Failure> {
    let page = page_of(command);
    let path = folder.join(page.get_filename());
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(&path, text)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    let mut below = command.get_subcommands().filter(|below| below.get_name() != "help");
    below.try_for_each(|below| pages(below, folder))
}
