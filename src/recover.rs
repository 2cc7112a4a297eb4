//! `baton raft-recover`: what people do when a majority of the disks of a raft is lost.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use baton_actors::raft::{Remains, begin_anew, remains};

use crate::config::{self, Sources};

/// Whether the other disks are lost for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// Nobody said so: nothing is changed.
    MayComeBack,
    /// Somebody said so.
    AreLost,
}

/// Says what the disk of this node remembers, and begins a raft anew from that if told to.
///
/// # Errors
/// When there is nothing to begin with, a node runs on it, or it cannot be written.
pub fn recover(file: Option<PathBuf>, others: Others, out: &mut dyn Write) -> anyhow::Result<()> {
    let loaded = config::load(&Sources::of_process(file))?;
    let raft = loaded.config.raft;
    anyhow::ensure!(raft.enabled, "RaftEnabled is false: this node takes part in no raft");
    let folder = raft.data_folder.context("RaftDataDir is needed")?;
    let seat = raft.advertise;
    match others {
        Others::MayComeBack => {
            tell(&remains(&folder)?, &folder, out)?;
            writeln!(out, "Nothing was changed.\n")?;
            writeln!(out, "{WARNING}")?;
        }
        Others::AreLost => {
            let (there, aside) = begin_anew(&folder, &seat)?;
            tell(&there, &folder, out)?;
            writeln!(out, "The log was moved to {}.", aside.display())?;
            writeln!(out, "A raft begins anew, of which {seat} is the only member.\n")?;
            writeln!(
                out,
                "Start this node. On every other one empty RaftDataDir (move it aside),"
            )?;
            writeln!(
                out,
                "start it, and let it in: baton client -c api -P raft-add-peer/HOST:PORT"
            )?;
        }
    }
    Ok(())
}

const WARNING: &str = "\
As long as a majority of the members can be started again, do that instead.
Otherwise run this on each node that is left, and choose the one with the most
entries. What only the lost ones had agreed upon is gone. Make sure that none
of the others runs, then run on the chosen one, and on that one only:

  baton raft-recover --others-are-lost";

fn tell(there: &Remains, folder: &Path, out: &mut dyn Write) -> std::io::Result<()> {
    let Remains { members, term, last, commands } = there;
    writeln!(out, "{} remembers a raft:", folder.display())?;
    writeln!(out, "  members   {}", members.join(", "))?;
    writeln!(out, "  term      {term}")?;
    writeln!(out, "  entries   {last}")?;
    writeln!(out, "  commands  {commands} applied")
}
