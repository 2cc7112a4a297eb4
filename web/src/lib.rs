//! The face of baton: HTTP API, metrics and the old JSON shapes.
