use proptest::prelude::*;

use super::*;
use crate::domain::ids::Millis;
use crate::store::envelope::Seal;

const KEYS: &str = "k2:Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=,k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const UNTIL: Timestamp = Timestamp(2_000);
const NOW: Timestamp = Timestamp(1_000);

fn keys(pairs: &str) -> Keyring {
    Seal::parse(pairs).unwrap().keyring("audit")
}

fn ring() -> Keyring {
    keys(KEYS)
}

/// What the table has of a day: lines at their places, heads.
#[derive(Clone, Debug, PartialEq)]
struct Table {
    scope: Scope,
    lines: BTreeMap<(Arc<str>, u64), Line>,
    heads: BTreeMap<Arc<str>, Head>,
}

impl Table {
    /// A day with lanes of these lengths.
    fn of(lanes: &[u64]) -> Self {
        let mut table = Self::empty(Scope::of_day("acme", Day::of(Millis(0))));
        for (at, length) in lanes.iter().enumerate() {
            let name = format!("w-{at}");
            table.append(ROLL, &name);
            table.begin(&name);
            for n in 0..*length {
                table.append(&name, &format!("entry {at} {n}"));
            }
        }
        table
    }

    fn empty(scope: Scope) -> Self {
        let mut table = Self {
            scope,
            lines: BTreeMap::new(),
            heads: BTreeMap::new(),
        };
        table.begin(ROLL);
        table
    }

    fn begin(&mut self, chain: &str) {
        let head = Head::new(&ring(), &self.scope, chain, UNTIL);
        self.heads.insert(chain.into(), head);
    }

    fn append(&mut self, chain: &str, body: &str) -> Anchor {
        let (line, head) = self.heads[chain].next(&ring(), &self.scope, UNTIL, body.into());
        let anchor = Anchor {
            tenant: Arc::clone(&self.scope.tenant),
            day: self.scope.day.unwrap(),
            chain: chain.into(),
            seq: line.seq,
            mac: line.mac.clone(),
        };
        self.lines.insert((chain.into(), line.seq), line);
        self.heads.insert(chain.into(), head);
        anchor
    }

    fn heads(&self) -> Vec<Head> {
        self.heads.values().cloned().collect()
    }

    fn check_with(&self, keys: &Keyring, anchors: &[Anchor]) -> Report {
        let mut check = Check::new(keys, &self.scope, NOW, self.heads(), anchors);
        for ((chain, seq), line) in &self.lines {
            check.take(chain, *seq, Some(line));
        }
        check.end(self.heads()).0
    }

    fn check(&self) -> Report {
        self.check_with(&ring(), &[])
    }

    /// The problems as words: what, which lane, which line.
    fn problems(&self) -> Vec<String> {
        self.check().problems.iter().map(words).collect()
    }

    fn place(&self, at: usize) -> (Arc<str>, u64) {
        self.lines
            .keys()
            .nth(at % self.lines.len())
            .unwrap()
            .clone()
    }
}

fn words(problem: &Problem) -> String {
    let number = |n: Option<u64>| n.map(|n| format!(" {n}")).unwrap_or_default();
    let lane = problem.writer.as_deref().unwrap_or_default();
    let (from, to) = (number(problem.seq), number(problem.to));
    format!("{:?} {lane}{from}{to}", problem.what)
}

fn at(chain: &str, seq: u64) -> (Arc<str>, u64) {
    (chain.into(), seq)
}

#[test]
fn what_nobody_touched_is_fine() {
    let report = Table::of(&[3, 0, 5]).check();
    assert_eq!(report.problems, []);
    assert!(report.is_fine());
    assert_eq!((report.lines, report.lanes), (8, 3));
    assert!(Table::of(&[]).check().is_fine());
}

#[test]
fn each_harm_is_named_with_its_place() {
    let check = |harm: fn(&mut Table), expected: &[&str]| {
        let mut table = Table::of(&[4, 2]);
        harm(&mut table);
        assert_eq!(table.problems(), expected);
    };
    check(
        |table| table.lines.get_mut(&at("w-0", 2)).unwrap().body.push(' '),
        &["Edited w-0 2"],
    );
    check(
        |table| {
            table.lines.remove(&at("w-0", 2));
            table.lines.remove(&at("w-0", 3));
        },
        &["Missing w-0 2 3"],
    );
    check(
        |table| {
            let (second, third) = (at("w-0", 2), at("w-0", 3));
            let one = table.lines.remove(&second).unwrap();
            let other = table.lines.insert(third, one).unwrap();
            table.lines.insert(second, other);
        },
        &["Moved w-0 2", "Moved w-0 3"],
    );
    check(
        |table| {
            let copy = table.lines[&at("w-0", 4)].clone();
            table.lines.insert(at("w-0", 5), copy);
        },
        &["Moved w-0 5", "Surplus w-0 5"],
    );
    // The end cut off, and a head made of what is left.
    check(
        |table| {
            table.lines.remove(&at("w-0", 4));
            let mac = table.lines[&at("w-0", 3)].mac.clone();
            let head = table.heads.get_mut("w-0").unwrap();
            (head.seq, head.mac) = (3, mac);
        },
        &["HeadEdited w-0"],
    );
    check(
        |table| {
            table.heads.remove("w-0");
        },
        &["HeadMissing w-0"],
    );
    check(
        |table| {
            table.heads.remove("w-1");
            table.lines.retain(|(chain, _), _| &**chain != "w-1");
        },
        &["LaneMissing w-1"],
    );
    // A lane and its entry in the roll.
    check(
        |table| {
            table.heads.remove("w-1");
            table.lines.retain(|(chain, _), _| &**chain != "w-1");
            table.lines.remove(&at(ROLL, 2));
        },
        &["Missing ROLL 2"],
    );
    check(
        |table| {
            let lane = Table::of(&[4, 2, 1]);
            table.heads.insert("w-2".into(), lane.heads["w-2"].clone());
            let place = at("w-2", 1);
            table
                .lines
                .insert(place.clone(), lane.lines[&place].clone());
        },
        &["LaneUnlisted w-2"],
    );
    check(
        |table| table.lines.get_mut(&at("w-0", 1)).unwrap().until = Timestamp(1_500),
        &["Edited w-0 1"],
    );
}

#[test]
fn nothing_of_another_day_or_tenant_passes() {
    let table = Table::of(&[2]);
    let other_day = Scope::of_day("acme", Day::of(Millis(86_400_000)));
    for scope in [other_day, Scope::of_day("other", Day::of(Millis(0)))] {
        let moved = Table {
            scope,
            ..table.clone()
        };
        assert!(moved.problems().contains(&"Edited w-0 1".to_owned()));
        assert!(moved.problems().contains(&"HeadEdited w-0".to_owned()));
    }
}

#[test]
fn an_older_table_restored_is_found_by_the_anchors_in_the_log() {
    let older = Table::of(&[3]);
    let mut table = older.clone();
    let anchors = [table.append("w-0", "more"), table.append("w-0", "and more")];
    assert!(table.check_with(&ring(), &anchors).is_fine());
    assert!(older.check().is_fine(), "by itself it is in order");
    let found = older.check_with(&ring(), &anchors).problems;
    let found: Vec<_> = found.iter().map(words).collect();
    assert_eq!(found, ["Unanchored w-0 4", "Unanchored w-0 5"]);
    for anchor in anchors {
        assert_eq!(Anchor::parse(&anchor.to_string()), Some(anchor));
    }
}

#[test]
fn rotated_keys_go_on_and_forgotten_ones_are_said_to_be_unknown() {
    let table = Table::of(&[3]);
    let newer = keys(
        "k3:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=,k2:Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=",
    );
    assert!(table.check_with(&newer, &[]).is_fine());
    let other = keys("k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let report = table.check_with(&other, &[]);
    assert_eq!(report.problems, []);
    assert!(!report.is_fine());
    assert_eq!(report.unknown_keys["k2"], 6, "four lines, two heads");
}

#[test]
fn what_is_appended_while_the_log_is_read_is_no_problem() {
    let before = Table::of(&[2]);
    let mut table = before.clone();
    table.append("w-0", "meanwhile");
    table.append(ROLL, "w-1");
    table.begin("w-1");
    table.append("w-1", "in a new lane");
    let keys = ring();
    // Heads first, then lines, then heads again.
    let mut check = Check::new(&keys, &table.scope, NOW, before.heads(), &[]);
    for ((chain, seq), line) in &table.lines {
        check.take(chain, *seq, Some(line));
    }
    assert_eq!(check.end(table.heads()).0.problems, []);
}

#[test]
fn days_that_have_expired_are_not_missed_in_the_roll() {
    let mut table = Table::empty(Scope::of_tenant("acme"));
    let mut before = None;
    for day in 1..=4_u64 {
        let until = Timestamp(day * 400);
        let listed = Listed {
            day: Day::of(Millis(day * 86_400_000)),
            until,
            before,
        };
        before = Some(until);
        let body = serde_json::to_string(&listed).unwrap();
        let (line, head) = table.heads[ROLL].next(&ring(), &table.scope, until, body);
        table.lines.insert((ROLL.into(), day), line);
        table.heads.insert(ROLL.into(), head);
    }
    // 400 and 800 are over, 1200 is not.
    table.lines.remove(&at(ROLL, 1));
    table.lines.remove(&at(ROLL, 2));
    assert_eq!(table.problems(), Vec::<String>::new());
    table.lines.remove(&at(ROLL, 3));
    assert_eq!(table.problems(), ["Missing ROLL 1 3"]);
}

/// One thing done to a table by somebody without the keys.
#[derive(Clone, Copy, Debug)]
enum Harm {
    EditBody(usize, usize),
    EditField(usize, u8),
    EditHead(usize, u8),
    Delete(usize),
    DeleteHead(usize),
    DeleteLane(usize),
    Swap(usize, usize),
    Copy(usize, usize),
    Truncate(usize),
}

fn harms() -> impl Strategy<Value = Harm> {
    let at = 0_usize..1000;
    prop_oneof![
        (at.clone(), at.clone()).prop_map(|(a, b)| Harm::EditBody(a, b)),
        (at.clone(), 0_u8..6).prop_map(|(a, b)| Harm::EditField(a, b)),
        (at.clone(), 0_u8..5).prop_map(|(a, b)| Harm::EditHead(a, b)),
        at.clone().prop_map(Harm::Delete),
        at.clone().prop_map(Harm::DeleteHead),
        at.clone().prop_map(Harm::DeleteLane),
        (at.clone(), at.clone()).prop_map(|(a, b)| Harm::Swap(a, b)),
        (at.clone(), at.clone()).prop_map(|(a, b)| Harm::Copy(a, b)),
        at.prop_map(Harm::Truncate),
    ]
}

impl Harm {
    fn to(self, table: &mut Table) {
        let head = |table: &Table, at: usize| {
            table
                .heads
                .keys()
                .nth(at % table.heads.len())
                .unwrap()
                .clone()
        };
        match self {
            Self::EditBody(at, byte) => {
                let line = table.lines.get_mut(&table.place(at)).unwrap();
                let mut bytes = line.body.clone().into_bytes();
                let byte = byte % bytes.len();
                bytes[byte] ^= 1;
                line.body = String::from_utf8_lossy(&bytes).into_owned();
            }
            Self::EditField(at, field) => {
                let line = table.lines.get_mut(&table.place(at)).unwrap();
                match field {
                    0 => line.seq += 1,
                    1 => line.prev.push('A'),
                    2 => line.until = Timestamp(line.until.0 - 1),
                    3 => line.kid = "k1".into(),
                    4 => line.chain = "w-9".into(),
                    _ => line.mac.insert(0, 'A'),
                }
            }
            Self::EditHead(at, field) => {
                let name = head(table, at);
                let head = table.heads.get_mut(&name).unwrap();
                match field {
                    0 => head.seq += 1,
                    1 => head.mac.push('A'),
                    2 => head.until = Timestamp(head.until.0 - 1),
                    3 => head.kid = "k1".into(),
                    _ => head.seal.insert(0, 'A'),
                }
            }
            Self::Delete(at) => {
                table.lines.remove(&table.place(at));
            }
            Self::DeleteHead(at) => {
                table.heads.remove(&head(table, at));
            }
            Self::DeleteLane(at) => {
                let name = head(table, at);
                table.heads.remove(&name);
                table.lines.retain(|(chain, _), _| *chain != name);
            }
            Self::Swap(at, with) => {
                let (one, other) = (table.place(at), table.place(with));
                let (first, second) = (table.lines[&one].clone(), table.lines[&other].clone());
                table.lines.insert(one, second);
                table.lines.insert(other, first);
            }
            Self::Copy(at, to) => {
                let line = table.lines[&table.place(at)].clone();
                let (chain, seq) = table.place(to);
                let last = table.heads[&chain].seq;
                table.lines.insert((chain, last + 1 + seq % 3), line);
            }
            // The end cut off, and the head made to fit.
            Self::Truncate(at) => {
                let (chain, seq) = table.place(at);
                let mac = table
                    .lines
                    .get(&(Arc::clone(&chain), seq - 1))
                    .map(|line| line.mac.clone());
                table.lines.retain(|(of, n), _| *of != chain || *n < seq);
                let head = table.heads.get_mut(&chain).unwrap();
                (head.seq, head.mac) = (seq - 1, mac.unwrap_or_default());
            }
        }
    }
}

proptest! {
    #[test]
    fn any_single_harm_is_found(lanes in proptest::collection::vec(0_u64..6, 1..5), harm in harms()) {
        let untouched = Table::of(&lanes);
        prop_assert!(untouched.check().is_fine());
        let mut table = untouched.clone();
        harm.to(&mut table);
        if table != untouched {
            let report = table.check();
            prop_assert!(!report.problems.is_empty(), "{harm:?} was not found: {report:?}");
        }
    }
}
