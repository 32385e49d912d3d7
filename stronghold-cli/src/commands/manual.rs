//! `man`: prints the manual page of a command, or writes the pages of all.

use std::io;
use std::path::PathBuf;

use clap::{Arg, Args, Command};
use clap_mangen::Man;
use serde_json::json;
use stronghold_sync::escape_untrusted;

use crate::context::Context;
use crate::error::{Failure, Kind, path_text, shown};

/// The text that this formatter puts before each section: its apostrophe.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

#[derive(Debug, Args)]
pub(crate) struct ManualArgs {
    /// Command to explain; default: `stronghold` itself.
    command: Option<String>,
    /// Write the pages of all commands into FOLDER, which must exist.
    #[arg(short, long, value_name = "FOLDER", conflicts_with = "command")]
    output: Option<PathBuf>,
}

/// Prints pages of `stronghold`, whose command line is `command`.
pub(super) fn manual(context: &Context, args: &ManualArgs, command: Command) -> Result<(), Failure> {
    let pages = pages(command);
    let Some(folder) = &args.output else {
        let wanted = args.command.as_deref().map_or("stronghold".into(), |name| format!("stronghold-{name}"));
        let (_, page) = pages.into_iter().find(|(name, _)| *name == wanted).ok_or_else(|| {
            let message =
                format!("no command {}", escape_untrusted(args.command.as_deref().unwrap_or_default()));
            Failure::new(Kind::NotFound, message).hint("see `stronghold help`")
        })?;
        return context.output.result(&json!({ "page": page }), || vec![page.trim_end().to_owned()]);
    };
    for (name, page) in &pages {
        let path = folder.join(format!("{name}.1"));
        std::fs::write(&path, page).map_err(|error| Failure::file(&path, &error))?;
    }
    let object = json!({ "folder": path_text(folder), "pages": pages.len() });
    context.output.result(&object, || vec![format!("wrote {} pages to {}", pages.len(), shown(folder))])
}

/// Returns the page of each command under its name.
fn pages(command: Command) -> Vec<(String, String)> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let source = format!("Stronghold {}", command.get_version().unwrap_or_default());
    let mut pages = Vec::new();
    add(&mut pages, command, &source);
    pages
}

/// Adds the pages of a command and of those below it.
fn add(pages: &mut Vec<(String, String)>, command: Command, source: &str) {
    let below = command.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let below: Vec<Command> = below.collect();
    let name = Man::new(command.clone()).get_filename().trim_end_matches(".1").to_owned();
    let mut page = Vec::new();
    // Writing into memory does not fail.
    let _ = render(command, source, &mut page);
    let page = String::from_utf8_lossy(&page).replace(PREAMBLE, "");
    let page = page.replace(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n");
    pages.push((name, format!("{PREAMBLE}{page}")));
    below.into_iter().for_each(|command| add(pages, command, source));
}

/// Renders a page. Options that all commands have are left out of its synopsis.
fn render(command: Command, source: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let own = |arg: Arg| if arg.is_global_set() { arg.hide(true) } else { arg };
    let (synopsis, man) = (Man::new(command.clone().mut_args(own)), Man::new(command.clone()).source(source));
    man.render_title(page)?;
    man.render_name_section(page)?;
    synopsis.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.get_subcommands().next().is_some() {
        man.render_subcommands_section(page)?;
    }
    man.render_extra_section(page)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn each_command_has_a_page_with_its_examples() {
        let pages = pages(Cli::command());
        let page = |name: &str| pages.iter().find(|(of, _)| of == name).map(|(_, page)| page.as_str());
        let get = page("stronghold-get").unwrap();
        assert!(
            get.contains(".TH stronghold-get 1") && get.contains("stronghold get wallet/web/mail"),
            "{get}"
        );
        assert!(page("stronghold").unwrap().contains("stronghold\\-get(1)"));
        assert!(page("stronghold-hold-clipboard").is_none() && page("stronghold-locations").is_none());
        assert!(page("stronghold-peers-rename").is_some());
    }
}
