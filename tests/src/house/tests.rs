use super::*;

fn circles<const N: usize>(files: [(&str, &str); N]) -> Vec<String> {
    let found = House::of(&Sources::from(files)).unwrap();
    found.circles.iter().map(ToString::to_string).collect()
}

#[test]
fn a_circle_is_named_file_by_file_with_what_ties_it() {
    let found = circles([
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::{Bee, other as o}; fn f() {}"),
        ("b.rs", "//! crate::d::no\nmod inner; pub struct Bee; pub fn other() {}"),
        ("b/inner.rs", "fn g() { vec![crate::c::Sea::new()]; }"),
        ("c.rs", "pub struct Sea; impl Sea { fn new() { use super::a; a::f(); } }"),
        ("d.rs", "use crate::a::f; fn d() { \"crate::b::no\"; } /* crate::b */"),
    ]);
    let expected = "3 modules of the crate use each other in a circle: a, b, c\n    a.rs uses b.rs: Bee, other\n    b/inner.rs uses c.rs: Sea\n    c.rs uses a.rs: f\n";
    assert_eq!(found, [expected]);
}

#[test]
fn a_circle_within_a_room_is_found_and_the_one_with_its_own_head_is_none() {
    let head = ("x.rs", "mod a; mod b; pub struct Shared; fn f() { a::go(); self::b::go(); }");
    let found = circles([
        ("lib.rs", "mod x;"),
        head,
        ("x/a.rs", "use super::Shared; pub fn go() {}"),
        ("x/b.rs", "use super::{Shared, a::go};"),
    ]);
    assert_eq!(found, [] as [&str; 0]);
    let found = circles([
        ("lib.rs", "mod x;"),
        head,
        ("x/a.rs", "pub fn go() { super::b::go() }"),
        ("x/b.rs", "pub fn go() { super::a::go() }"),
    ]);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("2 modules of x use"), "{found:?}");
}

#[test]
fn names_lead_to_the_file_that_defines_them() {
    // What `x` hands on of `y` is `y`'s: nobody uses `x` here but the head of the crate.
    let found = circles([
        ("lib.rs", "mod x; mod y; pub use x::Thing;"),
        (
            "x.rs",
            "pub use crate::y::Thing; pub use crate::y::deep::*; pub(crate) use crate::y::deep::Deep as Shallow;",
        ),
        ("y.rs", "mod deep; pub struct Thing; use crate::x::{Thing as T, Shallow}; fn f(_: crate::Thing) {}"),
        ("y/deep.rs", "pub struct Deep; use crate::x::Deep as D;"),
    ]);
    assert_eq!(found, [] as [&str; 0]);
    let used = circles([
        ("lib.rs", "mod x; mod y;"),
        ("x.rs", "pub use crate::y::Thing; pub fn f(_: Thing) {}"),
        ("y.rs", "pub struct Thing; use crate::x::f;"),
    ]);
    assert_eq!(used.len(), 1, "a re-export that is used is an arrow");
}

#[test]
fn tests_are_no_part_of_it() {
    let found = circles([
        ("lib.rs", "mod a; mod b; #[cfg(test)] mod cases;"),
        (
            "a.rs",
            "pub fn f() {} #[cfg(test)] use crate::b::g; #[cfg(test)] mod tests { use crate::b::g; } #[cfg(test)] mod more;",
        ),
        ("a/more.rs", "use crate::b::g;"),
        ("b.rs", "struct S { #[cfg(test)] x: Vec<u8>, y: u8 } pub fn g() { crate::a::f() }"),
        ("cases.rs", "use crate::a::f;"),
    ]);
    assert_eq!(found, [] as [&str; 0]);
    let after = circles([
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub struct S { #[cfg(test)] x: u8, y: crate::b::T }"),
        ("b.rs", "pub struct T(crate::a::S);"),
    ]);
    assert_eq!(after.len(), 1, "what stands behind a test's field counts");
}

#[test]
fn nothing_is_left_out_unsaid() {
    let error = House::of(&Sources::from([("lib.rs", "mod a;"), ("a.rs", ""), ("lost.rs", "")])).unwrap_err();
    assert!(error.to_string().contains("lost.rs"), "{error}");
    assert!(House::of(&Sources::from([("lib.rs", "mod a;")])).is_err());
    assert!(House::of(&Sources::from([("lib.rs", "fn f( {")])).is_err());
}
