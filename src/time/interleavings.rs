//! Explores the orders in which events can come, for tests of what waits for several of them at once.
//!
//! Each order runs on a runtime of its own, with one thread and a paused clock: time passes only while every task waits.

use std::fmt::Debug;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::sleep;

/// Defines `Step`, with these steps, and `ALL` of them.
macro_rules! steps {
    ($($(#[$about:meta])* $step:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Step {
            $($(#[$about])* $step,)*
        }

        const ALL: &[Step] = &[$(Step::$step),*];
    };
}

pub(crate) use steps;

/// Runs `test` with each order of one to `depth` of the `steps`, in which `can_follow` allows each step behind those before
/// it. Returns the number of orders.
pub(crate) fn each_order<S: Copy + Debug>(
    steps: &[S],
    depth: usize,
    can_follow: impl Fn(&[S], S) -> bool,
    mut test: impl AsyncFnMut(&[S]),
) -> usize {
    let (mut orders, mut count) = (vec![Vec::new()], 0);
    while let Some(order) = orders.pop() {
        if !order.is_empty() {
            run(&order, test(&order));
            count += 1;
        }
        if order.len() < depth {
            let next = steps.iter().filter(|step| can_follow(&order, **step));
            orders.extend(next.map(|step| [&order[..], &[*step]].concat()));
        }
    }
    count
}

/// Lets every task run until it waits.
pub(crate) async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// All orders of `steps`.
pub(crate) fn permutations<S: Copy>(steps: &[S]) -> Vec<Vec<S>> {
    let Some((first, rest)) = steps.split_first() else { return vec![Vec::new()] };
    let insert = |order: Vec<S>| {
        (0..=order.len()).map(move |at| [&order[..at], &[*first], &order[at..]].concat()).collect::<Vec<_>>()
    };
    permutations(rest).into_iter().flat_map(insert).collect()
}

fn run<S: Debug>(order: &[S], test: impl Future<Output = ()>) {
    /// Names the order of a test that fails.
    struct Name<'a, S: Debug>(&'a [S]);
    impl<S: Debug> Drop for Name<'_, S> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("in the order {:?}", self.0);
            }
        }
    }
    let _name = Name(order);
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(test);
}
