//! `/metrics`, in the format that the one who scrapes prefers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::error::Problem;
use super::routes::Shared;
use crate::openmetrics::{Format, Own, render};

pub(super) async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, Problem> {
    let (format, answers) = (preferred(&headers), shared.answers.clone());
    let rendered = answers.in_turn(move || {
        let (present, own) = (shared.sources.feed.present(), (shared.sources.own)());
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (database, counts) = (&own.database, &shared.counts);
        let mut dropped = vec![
            ("samples", database.samples_dropped),
            ("entries", database.entries_dropped),
            ("runs", database.runs_dropped),
            ("process_events", present.snapshot.own.events_lost),
            ("requests", count(&counts.refused)),
            ("requests_panicked", count(&counts.panics)),
            ("writes_limited", count(&counts.writes_limited)),
            ("writes_failed", count(&counts.writes_failed)),
            ("connections", count(&counts.accept_failures)),
            ("answers", count(&counts.answers_refused)),
            ("streams", count(&counts.streams_refused)),
            ("slow_streams", count(&counts.streams_dropped)),
        ];
        dropped.extend(own.log_lines_dropped.map(|lines| ("log_lines", lines)));
        render(
            format,
            &present.snapshot,
            &Own {
                version: env!("CARGO_PKG_VERSION"),
                now: shared.sources.clock.now().wall,
                tick: present.tick_took,
                database_bytes: database.size_bytes,
                queue_length: database.queue_length,
                dropped: &dropped,
                reloaded: own.reloads.error.is_none(),
            },
        )
    });
    let text = answers.admit_one(rendered.await.into())?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}

/// OpenMetrics for whoever names it and likes nothing better (RFC 9110, 12.5.1); the older format for all others.
fn preferred(headers: &HeaderMap) -> Format {
    let (mut open_metrics, mut plain) = (0, 0);
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or("");
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, thousandths);
        if name.eq_ignore_ascii_case("application/openmetrics-text") {
            open_metrics = open_metrics.max(quality);
        } else if name.eq_ignore_ascii_case("text/plain") {
            plain = plain.max(quality);
        }
    }
    if open_metrics > 0 && open_metrics >= plain { Format::OpenMetrics } else { Format::Prometheus }
}

/// A quality in thousandths; one that is malformed counts as none.
fn thousandths(quality: &str) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
    let scaled = |quality: f32| (quality * 1000.0) as u32;
    quality.parse().ok().filter(|quality| (0.0..=1.0).contains(quality)).map_or(0, scaled)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_preferred_format() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let table = [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("text/plain;q=0.5, application/openmetrics-text; version=1.0.0; q=0.6", Format::OpenMetrics),
            ("text/plain;q=0.7, application/openmetrics-text; version=1.0.0; q=0.6", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/openmetrics-text;q=nan", Format::Prometheus),
            ("text/plain", Format::Prometheus),
            ("text/html,*/*;q=0.8", Format::Prometheus),
            ("", Format::Prometheus),
        ];
        for (accept, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(preferred(&headers), expected, "{accept}");
        }
        assert_eq!(preferred(&HeaderMap::new()), Format::Prometheus);
    }
}
