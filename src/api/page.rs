//! The page for people. Its files are part of the program, and it reads what everyone can read over the API.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::agent::AgentPath;
use super::render::ETag;

const HTML: &str = include_str!("page/index.html");

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// What the page asks for: its address, its type, its text.
const FILES: [(&str, &str, &str); 14] = [
    ("/page/page.js", JS, include_str!("page/page.js")),
    ("/page/agent.js", JS, include_str!("page/agent.js")),
    ("/page/chart.js", JS, include_str!("page/chart.js")),
    ("/page/dom.js", JS, include_str!("page/dom.js")),
    ("/page/model.js", JS, include_str!("page/model.js")),
    ("/page/overview.js", JS, include_str!("page/overview.js")),
    ("/page/stream.js", JS, include_str!("page/stream.js")),
    ("/page/table.js", JS, include_str!("page/table.js")),
    ("/page/page.css", CSS, include_str!("page/page.css")),
    ("/page/table.css", CSS, include_str!("page/table.css")),
    ("/page/agent.css", CSS, include_str!("page/agent.css")),
    ("/page/icon.svg", SVG, include_str!("page/icon.svg")),
    ("/page/icon-bad.svg", SVG, include_str!("page/icon-bad.svg")),
    ("/page/icon-stale.svg", SVG, include_str!("page/icon-stale.svg")),
];

pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page = File::new("text/html; charset=utf-8", HTML);
    let same = page.clone();
    // The same page for each agent: its script reads the id from the address.
    let agent = get(async move |_: AgentPath, headers: HeaderMap| same.answer(&headers));
    let pages = Router::new()
        .route("/", get(async move |headers: HeaderMap| page.answer(&headers)))
        .route("/agents/", agent.clone())
        .route("/agents/{agentId}", agent);
    FILES.into_iter().fold(pages, |router, (path, kind, text)| {
        let file = File::new(kind, text);
        router.route(path, get(async move |headers: HeaderMap| file.answer(&headers)))
    })
}

/// A file of the page: asked for at each visit, sent once.
#[derive(Clone)]
struct File {
    content_type: &'static str,
    text: &'static str,
    tag: Arc<ETag>,
}

impl File {
    fn new(content_type: &'static str, text: &'static str) -> File {
        File { content_type, text, tag: Arc::new(ETag::of(text.as_bytes())) }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let answer = || ([(header::CONTENT_TYPE, self.content_type)], self.text).into_response();
        self.tag.unless_known(headers, answer)
    }
}
