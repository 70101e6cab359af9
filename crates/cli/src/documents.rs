//! `offtake completions` and `offtake man`: what a package installs beside the command.

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
    if let Some(folder) = &args.dir {
        let failed = |error| Failure::failed(format!("cannot write to {}: {error}", folder.display()));
        return clap_mangen::generate_to(command, folder).map_err(failed);
    }
    command.build(); // which gives every command its full name and the global options
    let mut page = &command;
    for name in &args.command {
        let unknown = || Failure::Usage(format!("there is no command `offtake {}`", args.command.join(" ")));
        page = page.find_subcommand(name).ok_or_else(unknown)?;
    }
    let mut output = Output::stdout();
    clap_mangen::Man::new(page.clone()).render(output.buffer())?;
    Ok(output.flush()?)
}
