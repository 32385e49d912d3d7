//! The fuzzer's input: both ends' records and rules, the request, and the operations on the
//! session. Contents mostly refer to existing entries, so that forged messages are plausible.

use arbitrary::Arbitrary;
use serde_bytes::ByteBuf;
use stronghold_sync::{
    Ancestors, Decision, Edition, Location, Operation, RevisionId, Selection, Shape,
    message::{
        Agreed, Batch, LeftOut, Listing, Message, Open, PROTOCOL, Propose, RecipientKey, RecordList, Refusal,
        Request, Volume,
    },
    reconcile::{Content, Digest, NeedMore, RangeDigest, SetDigest},
    session::{Changes, PeerMisbehaved, Push, SessionRequest, SyncOptions, Take, TaskError, TaskResult},
};

use super::world::{A, B, Node, SECRET, at, key, ms, sealed, select, set, symbols};

#[derive(Arbitrary, Debug)]
pub(crate) struct Input {
    kind: Kind,
    selection: Choice,
    on_plan: OnPlan,
    shared: u8,
    here: Vec<Write>,
    there: Vec<Write>,
    here_rules: Vec<RuleOf>,
    there_rules: Vec<RuleOf>,
    approves: bool,
    /// Each end remembers that the other one has the shared records, and compares the others alone.
    remembers: bool,
    pub(crate) ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Both,
    Pull,
    Push,
    Import,
    Browse,
    Fetch,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Choice {
    Wallet,
    Web,
    Everything,
    Keys,
    One,
}

#[derive(Arbitrary, Debug)]
enum OnPlan {
    Proceed,
    Confirm,
    Stop,
}

#[derive(Arbitrary, Debug)]
struct Write {
    name: u8,
    deleted: bool,
}

#[derive(Arbitrary, Debug)]
struct RuleOf {
    operations: u8,
    selection: Choice,
    ask: bool,
}

/// The end that a message or result is for.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum To {
    Asking,
    Asked,
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Op {
    /// Delivers the next message.
    Forward(To),
    /// Delivers the next message, but delays the host's reaction to it.
    Hasty(To),
    Lose(To),
    Twice(To),
    /// Swaps the next message with the one behind it.
    Later(To),
    /// Sends a copy of the next message to the other end, which may be its sender.
    Reflect(To),
    /// Delivers a message that either end sent before.
    Replay(To, u8),
    Alter(To, u16, u8),
    Inject(To, MadeUp),
    /// Replaces the host's result of one of its next actions.
    Sabotage(To, u8, GivenAnswer),
    Unasked(To, GivenAnswer),
}

/// A forged message.
#[derive(Arbitrary, Debug)]
pub(crate) enum MadeUp {
    Open {
        version: bool,
        kind: u8,
        selection: Choice,
    },
    Refused,
    Agreed {
        pull: Option<Choice>,
        push: Option<Choice>,
        delete: Option<Choice>,
        held: Option<Vec<u8>>,
        candidates: Option<Vec<Picked>>,
    },
    Candidates(Vec<Picked>),
    Cells(Vec<Word>),
    Symbols(Vec<Word>),
    Raw(bool, Vec<u8>),
    Ranges(Vec<Range>),
    Offered(Vec<Picked>),
    Compare,
    More,
    Rekeyed(Vec<u8>),
    AgainRanges(Vec<u8>),
    OnlyHere(Vec<Picked>),
    OnlyThere(Vec<Word>),
    Compared,
    Mismatch,
    Want(Vec<u8>),
    Give(Vec<Picked>),
    Propose(bool),
    Accept(bool),
    Granted(u64),
    Listed(Vec<Picked>),
    Batch {
        index: u8,
        entries: u16,
        len: u64,
    },
    /// A whole batch in which only the header and chunk sizes are right, with its chunk.
    BatchOf(Vec<Picked>),
    /// The chunk that matches a `BatchOf` of these.
    ChunkOf(Vec<Picked>),
    Chunk(Vec<u8>),
    Confirm(u8),
    End,
    Name(Vec<u8>),
    Named(Vec<Picked>),
    Left(Vec<u8>, u64, Vec<Picked>),
}

/// 8 bytes of a sketch or list of symbols.
#[derive(Arbitrary, Debug)]
pub(crate) enum Word {
    Raw(u64),
    SymbolOf(u8),
    SumOf(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Range {
    end: Option<u64>,
    sum: Option<(u8, u64)>,
    full: Vec<Word>,
}

/// A shape that one of the ends has, altered or not, or one that neither has.
#[derive(Arbitrary, Debug)]
pub(crate) struct Picked {
    which: u8,
    lie: Lie,
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Lie {
    None,
    Deleted,
    Size(u64),
    Revision(u8),
    Ancestors(Vec<u8>),
    Elsewhere(u8),
}

#[derive(Arbitrary, Debug)]
pub(crate) enum GivenAnswer {
    NoShapes,
    NoListing,
    Approved,
    Denied,
    Proceed(bool),
    Stop,
    Sealed(Vec<u8>),
    Imported,
    Limits,
    Local,
    NotPermitted,
    BadBatch,
}

type Known = [(Location, Shape)];

impl Input {
    pub(crate) fn asking_node(&self) -> Node {
        let mut node = Node::new(A);
        self.write_shared(&mut node);
        self.remember(&mut node);
        write(&mut node, &self.here);
        rules(&mut node, &self.here_rules, B);
        node.on_plan = match self.on_plan {
            OnPlan::Proceed => TaskResult::Proceed { deletions_confirmed: false },
            OnPlan::Confirm => TaskResult::Proceed { deletions_confirmed: true },
            OnPlan::Stop => TaskResult::Stop,
        };
        node
    }

    pub(crate) fn asked_node(&self) -> Node {
        let mut shared = Node::new(A);
        self.write_shared(&mut shared);
        let mut node = Node::new(B);
        node.copy_from(&shared);
        self.remember(&mut node);
        write(&mut node, &self.there);
        rules(&mut node, &self.there_rules, A);
        node.approves = self.approves;
        node
    }

    /// Writes the records that both ends have from the start.
    fn write_shared(&self, node: &mut Node) {
        for name in 0..self.shared % 80 {
            node.put(&record(name));
        }
    }

    /// Has the node remember that the other end has the records which it has now.
    fn remember(&self, node: &mut Node) {
        let held = || node.heads("**").iter().map(|head| head.revision).collect();
        node.confirmed = self.remembers.then(held);
    }

    pub(crate) fn ask(&self, a: &Node) -> SessionRequest {
        let (selection, key) = (select(self.selection.text()), key(0xA));
        let push = match a.policy.decide(&B, Operation::Pull, &selection, a.now) {
            Decision::Allowed(grant) => Some(grant),
            Decision::Ask(_) | Decision::Denied => None,
        };
        let secret = SECRET;
        match self.kind {
            Kind::Import => SessionRequest::Import { selection, key },
            Kind::Browse => SessionRequest::Browse { selection },
            Kind::Fetch => SessionRequest::Fetch { selection, key },
            Kind::Both | Kind::Pull | Kind::Push => {
                let take = matches!(self.kind, Kind::Both | Kind::Pull) || push.is_none();
                let take = take.then_some(Take::Everything);
                let push = push.filter(|_| !matches!(self.kind, Kind::Pull)).map_or(Push::No, Push::Granted);
                SessionRequest::Sync(SyncOptions {
                    selection,
                    take,
                    push,
                    names: self.approves,
                    key,
                    secret,
                    pair: None,
                })
            }
        }
    }
}

impl Op {
    pub(crate) fn is_honest(&self) -> bool {
        matches!(self, Self::Forward(_))
    }
}

impl To {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Asking => Self::Asked,
            Self::Asked => Self::Asking,
        }
    }
}

impl Choice {
    fn text(self) -> &'static str {
        match self {
            Self::Wallet => "wallet",
            Self::Web => "wallet/web",
            Self::Everything => "**",
            Self::Keys => "*/keys/*",
            Self::One => "wallet/web/3",
        }
    }

    fn selection(self) -> Selection {
        select(self.text())
    }
}

impl MadeUp {
    /// Returns the message; for a whole batch, also its chunk.
    pub(crate) fn messages(&self, known: &Known) -> Vec<Message> {
        let chunk = match self {
            Self::BatchOf(picked) => Some(Message::Chunk(sealed(&batch_of(picked, known)))),
            _ => None,
        };
        [self.message(known)].into_iter().chain(chunk).collect()
    }

    fn message(&self, known: &Known) -> Message {
        match self {
            Self::Open { version, kind, selection } => {
                let protocol = if *version { PROTOCOL } else { PROTOCOL + 1 };
                Message::Open(Open {
                    protocol,
                    request: request(*kind, *selection),
                    edition: Edition::default(),
                    pair_key: false,
                })
            }
            Self::Refused => Message::Refused(Refusal::Failed),
            Self::Agreed { pull, push, delete, held, candidates } => Message::Agreed(Agreed {
                pull: pull.map(Choice::selection),
                push: push.map(Choice::selection),
                delete: delete.map(Choice::selection),
                held: held.as_ref().map(|held| summary(held, known)),
                day: None,
                candidates: candidates.as_ref().map(|records| records_of(records, known)),
                edition: Edition::default(),
                copied: pull.is_none(),
            }),
            Self::Candidates(records) => Message::Candidates(records_of(records, known)),
            Self::Cells(cells) => Message::Digest(Digest::Cells(words(cells, known))),
            Self::Symbols(symbols) => Message::Digest(Digest::Symbols(words(symbols, known))),
            Self::Raw(true, raw) => Message::Digest(Digest::Cells(ByteBuf::from(raw.clone()))),
            Self::Raw(false, raw) => Message::Needed(ByteBuf::from(raw.clone())),
            Self::Ranges(ranges) => {
                Message::Digest(Digest::Ranges(ranges.iter().map(|range| range.told(known)).collect()))
            }
            Self::Offered(shapes) => Message::Offer(shapes_of(shapes, known)),
            Self::Compare => Message::DigestEnd,
            Self::More => Message::NeedMore(NeedMore::More),
            Self::Rekeyed(members) => Message::NeedMore(NeedMore::Rekeyed(Box::new(summary(members, known)))),
            Self::AgainRanges(ranges) => Message::NeedMore(NeedMore::Ranges(numbers(ranges))),
            Self::OnlyHere(shapes) => Message::Missing(shapes_of(shapes, known)),
            Self::OnlyThere(symbols) => Message::Needed(words(symbols, known)),
            Self::Compared => Message::DiffEnd,
            Self::Mismatch => Message::Mismatch,
            Self::Want(positions) => Message::Want(numbers(positions)),
            Self::Give(shapes) => Message::Push(shapes_of(shapes, known)),
            Self::Propose(with_key) => Message::Propose(Propose { key: own_key(*with_key) }),
            Self::Accept(with_key) => Message::Accept(own_key(*with_key)),
            Self::Granted(entries) => Message::Granted(Volume { entries: *entries, bytes: u64::MAX }),
            Self::Listed(picked) => Message::Listing(listings(picked, known)),
            Self::Batch { index, entries, len } => {
                let (index, entries) = (u64::from(*index), u64::from(*entries));
                Message::Batch(Batch { index, entries, len: *len })
            }
            Self::BatchOf(picked) => {
                let len = sealed(&batch_of(picked, known)).len() as u64;
                Message::Batch(Batch { index: 0, entries: picked.len() as u64, len })
            }
            Self::ChunkOf(picked) => Message::Chunk(sealed(&batch_of(picked, known))),
            Self::Chunk(bytes) => Message::Chunk(bytes.clone()),
            Self::Confirm(index) => Message::Ack(u64::from(*index)),
            Self::End => Message::End,
            Self::Name(positions) => Message::NamesWanted(numbers(positions)),
            Self::Named(picked) => Message::Names(locations(picked, known)),
            Self::Left(positions, number, picked) => Message::LeftOut(LeftOut {
                not_taken: *number,
                untaken: numbers(positions),
                not_given: *number,
                ungiven: locations(picked, known),
                copied: number % 2 == 1,
            }),
        }
    }
}

fn locations(picked: &[Picked], known: &Known) -> Vec<Location> {
    listings(picked, known).into_iter().map(|listing| listing.location).collect()
}

impl Word {
    fn bytes(&self, known: &Known) -> [u8; 8] {
        let symbol = |which: u8| {
            let one = set(pick(which, known).map(|(_, shape)| shape.entry()));
            one.symbols().first().map_or(0, |symbol| symbol.bits())
        };
        let word = match self {
            Self::Raw(word) => *word,
            Self::SymbolOf(which) => symbol(*which),
            Self::SumOf(members) => members.iter().fold(0, |sum, which| sum ^ symbol(*which)),
        };
        word.to_le_bytes()
    }
}

impl Range {
    fn told(&self, known: &Known) -> RangeDigest {
        let word = |word: &Word| u64::from_le_bytes(word.bytes(known));
        let content = match self.sum {
            Some((0, _)) => Content::Skip,
            Some((count, sum)) => Content::Sum(u64::from(count), sum),
            None => Content::Full(self.full.iter().map(word).collect()),
        };
        RangeDigest { end: self.end, content }
    }
}

impl Picked {
    fn shape(&self, known: &Known) -> (Location, Shape) {
        let own = || {
            let location = at(&record(self.which));
            let (ancestors, revision) = (Ancestors::default(), RevisionId::from_bytes([7; 32]));
            let shape = Shape { location: location.id(), revision, ancestors, size: 64, deleted: false };
            (location, shape)
        };
        let (mut location, mut shape) = pick(self.which, known).unwrap_or_else(own);
        match &self.lie {
            Lie::None => {}
            Lie::Deleted => shape.deleted = !shape.deleted,
            Lie::Size(size) => shape.size = *size,
            Lie::Revision(byte) => shape.revision = RevisionId::from_bytes([*byte; 32]),
            Lie::Ancestors(whose) => {
                let ids = whose.iter().filter_map(|which| Some(pick(*which, known)?.1.revision));
                shape.ancestors = Ancestors::from_newest_first(ids.collect()).unwrap_or_default();
            }
            Lie::Elsewhere(name) => {
                location = at(&record(*name));
                shape.location = location.id();
            }
        }
        (location, shape)
    }
}

impl GivenAnswer {
    pub(crate) fn answer(&self) -> Result<TaskResult, TaskError> {
        Ok(match self {
            Self::NoShapes => TaskResult::Shapes(Vec::new()),
            Self::NoListing => TaskResult::Listing(Vec::new()),
            Self::Approved => TaskResult::Approved,
            Self::Denied => TaskResult::Denied,
            Self::Proceed(deletions_confirmed) => {
                TaskResult::Proceed { deletions_confirmed: *deletions_confirmed }
            }
            Self::Stop => TaskResult::Stop,
            Self::Sealed(bytes) => TaskResult::Sealed(bytes.clone()),
            Self::Imported => TaskResult::Imported(Changes::default()),
            Self::Limits => return Err(TaskError::Limits),
            Self::Local => return Err(TaskError::Local),
            Self::NotPermitted => return Err(TaskError::NotPermitted),
            Self::BadBatch => return Err(TaskError::Peer(PeerMisbehaved::BadBatch)),
        })
    }
}

fn write(node: &mut Node, writes: &[Write]) {
    for change in writes.iter().take(40) {
        node.write(&record(change.name), change.deleted);
    }
}

fn rules(node: &mut Node, rules: &[RuleOf], peer: stronghold_sync::DeviceId) {
    for rule in rules.iter().take(4) {
        let all = Operation::ALL.into_iter().enumerate();
        let allowed = all.filter(|(bit, _)| rule.operations & (1 << bit) != 0);
        let operations: Vec<Operation> = allowed.map(|(_, operation)| operation).collect();
        node.grant(peer, &operations, rule.selection.text(), rule.ask);
    }
}

/// Returns the name of a record: most are in one vault, some in others that few selections reach.
fn record(name: u8) -> String {
    match name % 8 {
        6 => format!("wallet/keys/{name}"),
        7 => format!("private/own/{name}"),
        _ => format!("wallet/web/{name}"),
    }
}

fn records_of(picked: &[Picked], known: &Known) -> RecordList {
    let mut records: Vec<_> = shapes_of(picked, known).iter().map(|shape| shape.location).collect();
    records.sort();
    records.dedup();
    RecordList::new(records).unwrap_or_default()
}

fn request(kind: u8, selection: Choice) -> Request {
    let (selection, key) = (select(selection.text()), key(1));
    match kind % 6 {
        0 => Request::Import { selection, key },
        1 => Request::Browse { selection },
        2 => Request::Fetch { selection, key },
        3 => Request::Sync { selection, pull: true, push: false },
        4 => Request::Sync { selection, pull: false, push: true },
        _ => Request::Sync { selection, pull: true, push: true },
    }
}

fn pick(which: u8, known: &Known) -> Option<(Location, Shape)> {
    known.get(usize::from(which)).cloned()
}

fn summary(members: &[u8], known: &Known) -> SetDigest {
    set(members.iter().filter_map(|which| Some(pick(*which, known)?.1.entry()))).summary().clone()
}

fn words(words: &[Word], known: &Known) -> ByteBuf {
    if words.is_empty() {
        // The symbols of all existing entries.
        return symbols(known.iter().map(|(_, shape)| shape.entry()));
    }
    ByteBuf::from(words.iter().flat_map(|word| word.bytes(known)).collect::<Vec<u8>>())
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.iter().map(|byte| u32::from(*byte)).collect()
}

fn shapes_of(picked: &[Picked], known: &Known) -> Vec<Shape> {
    picked.iter().map(|picked| picked.shape(known).1).collect()
}

fn batch_of(picked: &[Picked], known: &Known) -> Vec<(Location, Shape)> {
    picked.iter().map(|picked| picked.shape(known)).collect()
}

fn listings(picked: &[Picked], known: &Known) -> Vec<Listing> {
    let listing = |picked: &Picked| {
        let (location, shape) = picked.shape(known);
        let (revision, size) = (shape.revision, shape.size);
        Listing { location, revision, size, modified: ms(1), conflict: false }
    };
    picked.iter().map(listing).collect()
}

fn own_key(with: bool) -> Option<RecipientKey> {
    with.then(|| key(1))
}
