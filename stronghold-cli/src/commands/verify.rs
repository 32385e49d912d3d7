//! `verify`: reads every value.

use serde_json::json;
use stronghold_sync::Selection;

use crate::context::Context;
use crate::{
    error::{Failure, Kind},
    output::counted,
};

pub(super) fn verify(context: &Context) -> Result<(), Failure> {
    let home = context.open()?;
    if home.is_torn() {
        let warning =
            "warning: the snapshot ends in a change that was not finished; the next write removes it";
        context.output.warning(warning);
    }
    let waiting = context.waiting("reading every value");
    let revisions = home.stronghold().verify()?;
    if !home.stronghold().log().is_intact() {
        return Err(Failure::new(Kind::Damaged, "the log's chain is broken")
            .hint("the records are whole; the log was changed by someone who has the key"));
    }
    let everything = Selection::everything();
    let records =
        home.stronghold().list(&everything).try_fold(0, |count, listed| listed.map(|_| count + 1))?;
    drop(waiting);
    let object = json!({
        "records": records, "revisions": revisions, "generation": home.file().sealer().generation(),
    });
    context.output.result(&object, || {
        vec![format!("ok: {}, {}", counted(records, "record"), counted(revisions, "revision"))]
    })
}
