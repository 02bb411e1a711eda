use std::cell::RefCell;
use std::collections::HashMap;
use std::env::var;

struct Ledger { rows: RefCell<Vec<u64>> }

impl Ledger {
    fn add(&self, n: u64) { let rows = self.rows.borrow(); self.rows.borrow_mut().push(n + rows.len() as u64); }
}

mod plan {
    pub fn head(text: &str, n: usize) -> &str { &text[n..] }
    pub fn seats(used: u32, all: u32) -> u32 { all.checked_sub(used).expect("no more seats than there are") }
}

fn owner(map: &HashMap<String, u32>, id: &str) -> u32 { map[id] }

fn main() {
    let n: usize = var("N").unwrap().parse().unwrap();
    let id = var("ID").unwrap();
    match std::env::args().nth(1).unwrap().as_str() {
        "borrow" => Ledger { rows: RefCell::default() }.add(n as u64),
        "slice" => drop(plan::head(&id[..3].to_owned(), n).len()),
        "seats" => drop(plan::seats(n as u32 + 1, n as u32)),
        "thread" => std::thread::Builder::new().name(format!("worker-{n}")).spawn(move || panic!("job {id} of {n} was lost")).unwrap().join().unwrap_or(()),
        _ => drop(owner(&HashMap::new(), &id)),
    }
}
