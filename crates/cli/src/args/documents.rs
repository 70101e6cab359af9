//! The command's documents: `completions` and `man`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

const COMPLETIONS: &str = "\
For example:
  bash  offtake completions bash > ~/.local/share/bash-completion/completions/offtake
  zsh   offtake completions zsh > \"${fpath[1]}/_offtake\"
  fish  offtake completions fish > ~/.config/fish/completions/offtake.fish";

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The command, such as `groups reset` (default: offtake itself)
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) dir: Option<PathBuf>,
}
