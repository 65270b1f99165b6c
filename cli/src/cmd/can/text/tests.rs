use super::*;
use crate::{golden, sample::policy};

#[test]
fn a_denial_names_what_decides_why_and_the_smallest_change() {
    let (request, answer) = policy::denied();
    golden::compare("can-denied.txt", &print(&answer, &request));
}

#[test]
fn cases_that_are_decided_differently_are_told_apart() {
    let (request, answer) = policy::mixed();
    golden::compare("can-mixed.txt", &print(&answer, &request));
}

#[test]
fn the_json_is_the_message() {
    let (_, answer) = policy::denied();
    golden::compare("can.json", &crate::output::policy::json(&answer));
}
