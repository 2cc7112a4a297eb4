//! Another time for one process.

use std::fs;

/// What makes a process believe in another time; Debian's `faketime` has it.
pub fn faketime() -> String {
    let folder = fs::read_dir("/usr/lib").expect("a folder").filter_map(Result::ok);
    let library = folder.map(|it| it.path().join("faketime/libfaketimeMT.so.1"));
    let library = library.into_iter().find(|it| it.exists());
    library.expect("libfaketime: run tests/support/install-servers").display().to_string()
}
