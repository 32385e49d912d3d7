//! Reading the segments behind a base, and telling a torn tail from damage.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use zeroize::Zeroizing;

use super::Sealer;
use crate::error::{Damage, OpenError};
use crate::format::segment::{BLOCK, HEADER_LEN, SEARCHED, SegmentHeader};

/// Bytes that are read at once.
const WINDOW: usize = 64 * 1024;

/// The segments behind the last one known.
pub(crate) struct Walked {
    /// The changes of each, oldest first.
    pub(crate) changes: Vec<Zeroizing<Vec<u8>>>,
    /// Set if bytes follow that are no whole segment: the rest of a commit that was not reported.
    pub(crate) is_torn: bool,
}

/// Reads all segments behind the last one that `sealer` knows, and takes them over. Passes over a
/// torn tail.
///
/// # Errors
/// [`OpenError::Damaged`] if a segment was altered or is missing: a later one follows.
pub(crate) fn walk(
    file: &mut (impl Read + Seek),
    sealer: &mut Sealer,
) -> io::Result<Result<Walked, OpenError>> {
    let mut walked = Walked { changes: Vec::new(), is_torn: false };
    file.seek(SeekFrom::Start(sealer.end()))?;
    let mut ahead = BufReader::with_capacity(WINDOW, &mut *file);
    loop {
        let mut bytes = Zeroizing::new(Vec::new());
        (&mut ahead).take(HEADER_LEN as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(Ok(walked));
        }
        match next_segment(&mut ahead, sealer, bytes)? {
            Ok(Some((header, opened))) => {
                sealer.append(&header);
                walked.changes.push(opened);
            }
            Ok(None) => break,
            Err(damage) => return Ok(Err(damage)),
        }
    }
    if is_followed(file, sealer)? {
        return Ok(Err(OpenError::Damaged(Damage::Segment)));
    }
    walked.is_torn = true;
    Ok(Ok(walked))
}

type Next = Option<(SegmentHeader, Zeroizing<Vec<u8>>)>;

/// Reads the rest of the segment that begins with `bytes`. Returns `None` if it is not the next
/// one, or not whole.
fn next_segment(
    file: &mut impl Read,
    sealer: &Sealer,
    mut bytes: Zeroizing<Vec<u8>>,
) -> io::Result<Result<Next, OpenError>> {
    let Some(header) = SegmentHeader::parse(&bytes) else { return Ok(Ok(None)) };
    if !header.follows(sealer.generation(), &sealer.chain_value()) {
        return Ok(Ok(None));
    }
    file.take(header.len() - HEADER_LEN as u64).read_to_end(&mut bytes)?;
    let opened = sealer.open_segment(&header, bytes);
    Ok(opened.map(|opened| opened.map(|changes| (header, changes))))
}

/// Checks whether an authentic segment of this base lies at its own offset behind the known end.
fn is_followed(file: &mut (impl Read + Seek), sealer: &Sealer) -> io::Result<bool> {
    let len = file.seek(SeekFrom::End(0))?;
    let end = sealer.end();
    for at in (end + BLOCK..len.min(end.saturating_add(SEARCHED))).step_by(BLOCK as usize) {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        file.take(HEADER_LEN as u64).read_to_end(&mut bytes)?;
        if SegmentHeader::parse(&bytes).is_some_and(|header| sealer.is_authentic(&header, at)) {
            return Ok(true);
        }
    }
    Ok(false)
}
