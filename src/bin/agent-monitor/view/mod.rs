//! Text for people: what fits on their screen, and nothing that could steer it.

pub(crate) mod bars;
pub(crate) mod screen;
pub(crate) mod table;
pub(crate) mod text;

#[cfg(test)]
mod tests;
