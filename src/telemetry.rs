//! Logs: text for people at a terminal, JSON for everything else.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is not understood.
    #[error("{from}: {text:?} is not a log level or filter")]
    Level {
        /// Which option or variable said so.
        from: &'static str,
        /// What it said.
        text: String,
        /// Why it is not understood.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody set up logs before.
    #[error("logs are already set up")]
    AlreadySet(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What may set the level; the first that is given wins, in this order.
#[derive(Debug, Clone, Default)]
pub struct Level {
    /// `--log-level`.
    pub option: Option<String>,
    /// `BATON_LOG`.
    pub baton_log: Option<String>,
    /// `RUST_LOG`.
    pub rust_log: Option<String>,
}

impl Level {
    /// The level by `option` and the environment of this process.
    pub fn of_process(option: Option<String>) -> Self {
        let set = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self { option, baton_log: set("BATON_LOG"), rust_log: set("RUST_LOG") }
    }

    /// The filter; `default` when nothing is given (`debug` for the key `Debug`, else `info`).
    pub fn filter(&self, default: &str) -> Result<EnvFilter, TelemetryError> {
        let (from, text) = [
            ("--log-level", &self.option),
            ("BATON_LOG", &self.baton_log),
            ("RUST_LOG", &self.rust_log),
        ]
        .into_iter()
        .find_map(|(from, text)| Some((from, text.as_deref()?)))
        .unwrap_or(("Debug", default));
        EnvFilter::try_new(text).map_err(|source| TelemetryError::Level {
            from,
            text: text.to_owned(),
            source,
        })
    }
}

/// Sends logs to standard error from here on.
pub fn init(level: &Level, default: &str) -> Result<(), TelemetryError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(level.filter(default)?)
        .with_writer(std::io::stderr);
    let done = if std::io::stderr().is_terminal() {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    done.map_err(TelemetryError::AlreadySet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_comes_before_the_environment_and_a_bad_one_is_named() {
        let given = |text: &str| Some(text.to_owned());
        for (case, level, expected) in [
            ("nothing", Level::default(), "info"),
            ("RUST_LOG", Level { rust_log: given("warn"), ..Level::default() }, "warn"),
            (
                "BATON_LOG over RUST_LOG",
                Level { rust_log: given("warn"), baton_log: given("trace"), option: None },
                "trace",
            ),
            (
                "the option over both",
                Level {
                    rust_log: given("warn"),
                    baton_log: given("trace"),
                    option: given("error"),
                },
                "error",
            ),
        ] {
            assert_eq!(level.filter("info").unwrap().to_string(), expected, "case: {case}");
        }
        let bad = Level { baton_log: given("a=b=c"), ..Level::default() };
        assert!(bad.filter("info").unwrap_err().to_string().starts_with("BATON_LOG"));
    }
}
