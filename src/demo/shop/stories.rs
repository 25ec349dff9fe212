//! What happens in the shop: people look at things, and some of them buy.

use super::Service::{Checkout, Inventory, Payment, Storefront};
use super::tape::{Order, Severity, Tape, Visit};
use fastrand::Rng;
use millrace_wire::write::SpanKind::{Client, Producer, Server};
use std::time::Duration;

/// What can be bought, with its price in euros.
pub const PRODUCTS: [(&str, f64); 5] =
    [("teapot", 24.5), ("kettle", 49.0), ("oolong-100g", 12.9), ("whisk", 8.4), ("gaiwan", 31.0)];
/// How many of a product a delivery brings.
const DELIVERY: i64 = 40;
/// Below that, it is time for one.
const LOW: i64 = 5;

/// How many there are of each product.
#[derive(Debug)]
pub struct Warehouse {
    /// As many as there are [`PRODUCTS`].
    pub stock: [i64; PRODUCTS.len()],
}

impl Default for Warehouse {
    fn default() -> Self {
        Self { stock: [DELIVERY; PRODUCTS.len()] }
    }
}

/// One visit, which ends at `now_ns`.
pub fn visit(rng: &mut Rng, warehouse: &mut Warehouse, now_ns: u64) -> Visit {
    let mut tape = Tape::new(rng);
    match tape.rng.u32(..10) {
        0..7 => browse(&mut tape),
        _ => buy(&mut tape, warehouse),
    }
    tape.finish(now_ns)
}

fn browse(tape: &mut Tape<'_>) {
    let product = PRODUCTS[tape.rng.usize(..PRODUCTS.len())].0;
    tape.span(Storefront, Server, "GET /products/{id}", |tape| {
        request(tape, "GET", "/products/{id}");
        tape.fact("shop.product", product);
        tape.takes(Duration::from_millis(1));
        tape.call((Storefront, Inventory), "shop.Inventory/Describe", |tape| {
            tape.query(Inventory, "SELECT products", "products");
        });
        tape.takes(Duration::from_millis(4));
        answer(tape, 200, format!("GET /products/{product} 200"));
    });
}

fn buy(tape: &mut Tape<'_>, warehouse: &mut Warehouse) {
    let product = tape.rng.usize(..PRODUCTS.len());
    let quantity = tape.rng.i64(1..=3);
    tape.span(Storefront, Server, "POST /orders", |tape| {
        request(tape, "POST", "/orders");
        tape.takes(Duration::from_millis(2));
        let order = tape.call((Storefront, Checkout), "shop.Checkout/PlaceOrder", |tape| {
            place_order(tape, warehouse, product, quantity)
        });
        tape.order(order);
        let status = match order {
            Order::Placed(_) => 201,
            Order::Declined => 402,
            Order::OutOfStock => 409,
            Order::TimedOut => 503,
        };
        answer(tape, status, format!("POST /orders {status}"));
    });
}

fn place_order(tape: &mut Tape<'_>, warehouse: &mut Warehouse, product: usize, quantity: i64) -> Order {
    let (name, price) = PRODUCTS[product];
    let total = price * quantity as f64;
    let number = format!("o-{:06}", tape.rng.u32(..1_000_000));
    tape.fact("shop.order.id", number.as_str());
    tape.fact("shop.order.total_eur", total);
    tape.takes(Duration::from_millis(2));
    let is_reserved = tape.call((Checkout, Inventory), "shop.Inventory/Reserve", |tape| {
        reserve(tape, warehouse, product, quantity)
    });
    if !is_reserved {
        tape.says(
            Severity::Warn,
            format!("order {number} refused: {name} is sold out"),
            vec![("shop.product", name.into())],
        );
        return Order::OutOfStock;
    }
    match tape.call((Checkout, Payment), "shop.Payment/Charge", |tape| charge(tape, total)) {
        Ok(()) => {}
        Err((order, why)) => {
            tape.fails(why);
            let text = format!("order {number} was not paid: {why}");
            tape.says(Severity::Error, text, vec![("shop.order.id", number.as_str().into())]);
            warehouse.stock[product] += quantity;
            return order;
        }
    }
    tape.span(Checkout, Producer, "send orders", |tape| {
        tape.fact("messaging.system", "kafka");
        tape.fact("messaging.destination.name", "orders");
        tape.takes(Duration::from_millis(1));
    });
    let text = format!("order {number} placed: {quantity} × {name}, {total:.2} EUR");
    let facts = vec![("shop.order.id", number.as_str().into()), ("shop.order.total_eur", total.into())];
    tape.says(Severity::Info, text, facts);
    Order::Placed(total)
}

fn reserve(tape: &mut Tape<'_>, warehouse: &mut Warehouse, product: usize, quantity: i64) -> bool {
    let name = PRODUCTS[product].0;
    let stock = &mut warehouse.stock[product];
    tape.fact("shop.product", name);
    tape.query(Inventory, "UPDATE stock", "stock");
    if *stock < quantity {
        // Tomorrow's delivery comes today.
        *stock += DELIVERY;
        tape.fact("shop.stock", 0);
        return false;
    }
    *stock -= quantity;
    tape.fact("shop.stock", *stock);
    let facts = vec![("shop.product", name.into()), ("shop.stock", (*stock).into())];
    if *stock < LOW {
        tape.says(Severity::Warn, format!("only {stock} of {name} left"), facts);
    } else {
        tape.says(Severity::Info, format!("reserved {quantity} of {name}"), facts);
    }
    true
}

fn charge(tape: &mut Tape<'_>, total: f64) -> Result<(), (Order, &'static str)> {
    let luck = tape.rng.u32(..100);
    tape.fact("shop.charge.amount_eur", total);
    tape.takes(Duration::from_millis(2));
    let outcome = tape.span(Payment, Client, "POST bank.example/charges", |tape| {
        tape.fact("http.request.method", "POST");
        tape.fact("server.address", "bank.example");
        match luck {
            0..3 => {
                tape.takes(Duration::from_millis(1500));
                tape.fails("the bank did not answer in time");
                Err((Order::TimedOut, "the bank did not answer in time"))
            }
            3..9 => {
                tape.takes(Duration::from_millis(60));
                tape.fact("http.response.status_code", 402);
                Err((Order::Declined, "card declined"))
            }
            _ => {
                tape.takes(Duration::from_millis(90));
                tape.fact("http.response.status_code", 201);
                Ok(())
            }
        }
    });
    match outcome {
        Ok(()) => tape.says(Severity::Info, format!("charged {total:.2} EUR"), Vec::new()),
        Err((_, why)) => {
            tape.fails(why);
            tape.says(Severity::Error, format!("charge of {total:.2} EUR failed: {why}"), Vec::new());
        }
    }
    outcome
}

fn request(tape: &mut Tape<'_>, method: &'static str, route: &'static str) {
    tape.fact("http.request.method", method);
    tape.fact("http.route", route);
    tape.fact("url.scheme", "https");
}

fn answer(tape: &mut Tape<'_>, status: i64, line: String) {
    tape.fact("http.response.status_code", status);
    let severity = if status >= 500 { Severity::Error } else { Severity::Info };
    if status >= 500 {
        tape.fails("service unavailable");
    }
    tape.says(severity, line, vec![("http.response.status_code", status.into())]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeSet, HashMap};

    const NOW_NS: u64 = 1_700_000_000_000_000_000;

    fn visits(count: usize) -> Vec<Visit> {
        let (mut rng, mut warehouse) = (Rng::with_seed(7), Warehouse::default());
        (0..count).map(|_| visit(&mut rng, &mut warehouse, NOW_NS)).collect()
    }

    #[test]
    fn a_visit_is_one_tree_whose_spans_lie_in_each_other() {
        for visit in visits(200) {
            let by_id: HashMap<_, _> = visit.spans.iter().map(|work| (work.id, work)).collect();
            assert_eq!(by_id.len(), visit.spans.len(), "ids are unique");
            let [root, rest @ ..] = visit.spans.as_slice() else { panic!("a visit without spans") };
            assert_eq!((root.parent, root.end_ns), ([0; 8], NOW_NS));
            for work in rest {
                let parent = by_id.get(&work.parent).expect("the parent is in the same visit");
                assert!(
                    parent.start_ns <= work.start_ns
                        && work.start_ns < work.end_ns
                        && work.end_ns <= parent.end_ns
                );
            }
        }
    }

    #[test]
    fn log_records_are_written_while_their_span_is_open() {
        let visits = visits(200);
        assert!(visits.iter().all(|visit| !visit.lines.is_empty()));
        for visit in &visits {
            for line in &visit.lines {
                let work = &visit.spans[line.span];
                assert!((work.start_ns..=work.end_ns).contains(&line.time_ns), "{line:?}");
            }
        }
    }

    #[test]
    fn most_visits_go_well_and_every_failure_happens() {
        let visits = visits(3000);
        let failed =
            visits.iter().filter(|visit| visit.spans.iter().any(|work| work.failure.is_some())).count();
        assert!((10..300).contains(&failed), "{failed} of 3000");
        let orders: BTreeSet<_> = visits.iter().filter_map(|visit| visit.order).map(Order::outcome).collect();
        assert_eq!(orders.len(), 4, "{orders:?}");
    }

    #[test]
    fn what_is_sold_out_is_delivered_again() {
        let (mut rng, mut warehouse) = (Rng::with_seed(8), Warehouse::default());
        for _ in 0..5000 {
            visit(&mut rng, &mut warehouse, NOW_NS);
            assert!(
                warehouse.stock.iter().all(|&stock| (0..=DELIVERY + LOW).contains(&stock)),
                "{warehouse:?}"
            );
        }
    }
}
