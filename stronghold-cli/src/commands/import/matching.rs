//! Matches the credentials of a table to those held. Credentials with equal titles are told apart
//! by their values, not by their order, which may differ in the next table.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::{
    held::{Held, State},
    table::Credential,
};
use crate::error::Failure;

/// Maximum number of pairs compared per title, so that 100,000 entries with one title do not take
/// hours.
const MAX_PAIRS: usize = 100_000;

/// Returns the place of each credential: `group/title`, numbered where titles are equal.
///
/// # Errors
/// [`Failure`] when a held record can't be read.
pub(super) fn places(table: &[Credential], held: &Held<'_>) -> Result<Vec<String>, Failure> {
    let mut titles: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, credential) in table.iter().enumerate() {
        titles.entry(&credential.place).or_default().push(index);
    }
    let mut matching = Matching { table, held, found: vec![None; table.len()], taken: HashSet::new() };
    for (place, rows) in &titles {
        matching.equal(place, rows)?;
    }
    for (place, rows) in &titles {
        matching.alike(place, rows)?;
    }
    Ok(matching.rest(&titles))
}

struct Matching<'a> {
    table: &'a [Credential],
    held: &'a Held<'a>,
    found: Vec<Option<String>>,
    taken: HashSet<String>,
}

impl Matching<'_> {
    fn take(&mut self, row: usize, place: &str) {
        self.found[row] = Some(place.to_owned());
        self.taken.insert(place.to_owned());
    }

    fn free_places(&self, place: &str) -> Vec<String> {
        let places = self.held.places_of(place);
        places.into_iter().filter(|name| !self.taken.contains(*name)).map(str::to_owned).collect()
    }

    /// Matches credentials whose fields are all equal.
    fn equal(&mut self, place: &str, rows: &[usize]) -> Result<(), Failure> {
        let mut says: HashMap<Vec<(String, Vec<u8>)>, VecDeque<String>> = HashMap::new();
        for candidate in self.free_places(place) {
            let fields = self.held.fields(&candidate)?.into_iter();
            let mut said: Vec<(String, Vec<u8>)> = fields
                .filter_map(|(field, state)| match state {
                    State::Says { values, .. } => Some((field, values.first()?.to_vec())),
                    _ => None,
                })
                .collect();
            said.sort();
            says.entry(said).or_default().push_back(candidate);
        }
        for row in rows {
            let fields = self.table[*row].fields.iter();
            let mut said: Vec<(String, Vec<u8>)> =
                fields.map(|(field, value)| (field.clone(), value.to_vec())).collect();
            said.sort();
            if let Some(candidate) = says.get_mut(&said).and_then(VecDeque::pop_front) {
                self.take(*row, &candidate);
            }
        }
        Ok(())
    }

    /// Matches credentials that share a current or former value with a held one, most similar pairs
    /// first.
    fn alike(&mut self, place: &str, rows: &[usize]) -> Result<(), Failure> {
        let rows: Vec<usize> = rows.iter().copied().filter(|row| self.found[*row].is_none()).collect();
        let candidates = self.free_places(place);
        if rows.len() * candidates.len() > MAX_PAIRS {
            return Ok(());
        }
        let mut pairs = Vec::new();
        for (order, candidate) in candidates.iter().enumerate() {
            let fields = self.held.fields(candidate)?;
            for row in &rows {
                let likeness = self.likeness(&self.table[*row], candidate, &fields)?;
                if likeness > 0 {
                    pairs.push((std::cmp::Reverse(likeness), *row, order));
                }
            }
        }
        pairs.sort_unstable();
        for (_, row, order) in pairs {
            if self.found[row].is_none() && !self.taken.contains(&candidates[order]) {
                self.take(row, &candidates[order]);
            }
        }
        Ok(())
    }

    /// Returns the similarity of a row and a held credential. Usernames, passwords and TOTP secrets
    /// weigh twice as much as URLs and notes; a former value counts half.
    fn likeness(
        &self,
        row: &Credential,
        candidate: &str,
        fields: &[(String, State)],
    ) -> Result<u32, Failure> {
        let mut likeness = 0;
        for (field, value) in &row.fields {
            let weight = if ["url", "notes"].contains(&field.as_str()) { 2 } else { 4 };
            let says = fields.iter().any(|(name, state)| match state {
                State::Says { values, .. } => name == field && values.iter().any(|held| held == value),
                _ => false,
            });
            if says {
                likeness += weight;
            } else if self.held.field_said_before(candidate, field, value)? {
                likeness += weight / 2;
            }
        }
        Ok(likeness)
    }

    /// Places the remaining rows. The only row of a title takes the only held credential of that
    /// title, whatever its values. Other rows are new and get the next number that was never used.
    fn rest(mut self, titles: &BTreeMap<&str, Vec<usize>>) -> Vec<String> {
        let mut numbers: HashMap<&str, u64> = HashMap::new();
        for (row, credential) in self.table.iter().enumerate() {
            if self.found[row].is_some() {
                continue;
            }
            let place = credential.place.as_str();
            let only = titles.get(place).is_some_and(|rows| rows.len() == 1)
                && self.held.places_of(place) == [place];
            let is_free = |name: &str| !self.taken.contains(name) && (only || !self.held.has_place(name));
            let number = numbers.entry(place).or_insert(1);
            let mut name = place.to_owned();
            while !is_free(&name) {
                *number += 1;
                name = format!("{place} ({number})");
            }
            self.take(row, &name);
        }
        self.found.into_iter().flatten().collect()
    }
}
