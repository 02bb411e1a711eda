use std::env::var;

fn load(path: &str) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn pick(items: &[u32], n: usize) -> u32 {
    items[n]
}

fn port(text: &str) -> u16 {
    text.parse().expect("the port is a number")
}

fn main() {
    let n: usize = var("N").unwrap().parse().unwrap();
    match std::env::args().nth(1).unwrap().as_str() {
        "load" => drop(load(&format!("{}/{}.toml", var("DIR").unwrap(), var("NAME").unwrap()))),
        "pick" => drop(pick(&vec![1; n % 9], n)),
        _ => drop(port(&format!("{}x", var("PORT").unwrap()))),
    }
}
