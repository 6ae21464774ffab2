//! What names stand for: the module that defines them, through uses and re-exports.

use super::read::{Module, Use};
use super::{Arrows, Place};

/// Re-exports of re-exports, at most: a name that leads in a circle stands for nothing.
const DEPTH: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Module(usize),
    Item(usize, String),
}

/// Which file uses what of which.
pub(super) fn arrows(modules: &[Module]) -> Arrows {
    let mut arrows = Arrows::new();
    for (id, module) in modules.iter().enumerate() {
        let used = module.uses.iter().filter(|used| is_arrow(module, used));
        let named = module.paths.iter().map(|path| (path, false));
        for (path, glob) in used.map(|used| (&used.path, used.name == "*")).chain(named) {
            let (target, name) = match resolve(modules, id, path, DEPTH) {
                Some(Target::Item(target, name)) => (target, name),
                Some(Target::Module(target)) if glob => (target, "*".to_owned()),
                // Who names a module alone has taken nothing of it yet.
                _ => continue,
            };
            if modules[target].file != module.file {
                let ends = (place(module), place(&modules[target]));
                arrows.entry(ends).or_default().insert(name);
            }
        }
    }
    arrows
}

fn place(module: &Module) -> Place {
    Place { file: module.file.clone(), path: module.path.clone() }
}

/// A re-export that the file itself doesn't use only says where something is.
fn is_arrow(module: &Module, used: &Use) -> bool {
    !used.public || module.words.contains(&used.name)
}

fn resolve(modules: &[Module], from: usize, path: &[String], depth: usize) -> Option<Target> {
    let depth = depth.checked_sub(1)?;
    let mut at = from;
    let mut first = true;
    for name in path {
        match name.as_str() {
            "crate" => at = 0,
            "self" => {}
            "super" => at = modules[at].parent?,
            name => match step(modules, at, name, path, depth) {
                Some(Target::Module(next)) => at = next,
                found @ Some(Target::Item(..)) => return found,
                // Of another crate, or of the language.
                None if first => return None,
                None => return Some(Target::Item(at, name.to_owned())),
            },
        }
        first = false;
    }
    Some(Target::Module(at))
}

/// What a name stands for in a module. `None`: nothing that is known, so it is defined there, or comes from elsewhere.
fn step(modules: &[Module], at: usize, name: &str, path: &[String], depth: usize) -> Option<Target> {
    let module = &modules[at];
    if let Some(child) = module.children.get(name) {
        return Some(Target::Module(*child));
    }
    if module.defines.contains(name) {
        return Some(Target::Item(at, name.to_owned()));
    }
    let named = module.uses.iter().filter(|used| used.name == name && used.path != path);
    let found = named.filter_map(|used| resolve(modules, at, &used.path, depth)).next();
    found.or_else(|| {
        let globs = module.uses.iter().filter(|used| used.name == "*");
        let all = globs.filter_map(|used| match resolve(modules, at, &used.path, depth)? {
            Target::Module(of) if of != at => step(modules, of, name, path, depth.checked_sub(1)?),
            _ => None,
        });
        { all }.next()
    })
}
