//! The examples of RFC 7541, appendix C, and what is none.

use super::*;

type Fields = Vec<(String, String)>;

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Damaged> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    decoder.decode(block, |name, value, _| fields.push((text(name), text(value))))?;
    Ok(fields)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("hex") as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A block, what it says, and the size of the table after it.
type Step<'a> = (&'a str, &'a [(&'a str, &'a str)], usize);

/// Reads blocks in a row, with a table of `max` bytes.
fn follow(blocks: &[Step<'_>], max: usize) {
    let mut decoder = Decoder::new();
    decoder.table.resize(max);
    for (block, expected, size) in blocks {
        let fields = decode(&mut decoder, &bytes(block)).expect("in form");
        let fields: Vec<_> = fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        assert_eq!(fields, *expected);
        assert_eq!(decoder.table.size(), *size);
        decoder.settle();
    }
}

#[test]
fn literals_of_every_kind() {
    // C.2.1 to C.2.4.
    follow(
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &[("custom-key", "custom-header")],
            55,
        )],
        4096,
    );
    follow(&[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")], 0)], 4096);
    follow(&[("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")], 0)], 4096);
    follow(&[("82", &[(":method", "GET")], 0)], 4096);
    let mut secrets = Vec::new();
    let block = bytes("1008 7061 7373 776f 7264 0673 6563 7265 74 040c 2f73 616d 706c 652f 7061 7468");
    Decoder::new().decode(&block, |_, _, secret| secrets.push(secret)).expect("in form");
    assert_eq!(secrets, [true, false]);
}

const FIRST: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const SECOND: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const THIRD: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];

#[test]
fn requests_in_a_row() {
    // C.3 and C.4.
    follow(
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST, 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", SECOND, 110),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", THIRD, 164),
        ],
        4096,
    );
    follow(
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST, 57),
            ("8286 84be 5886 a8eb 1064 9cbf", SECOND, 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", THIRD, 164),
        ],
        4096,
    );
}

#[test]
fn answers_in_a_row_with_a_small_table() {
    // C.5 and C.6: entries make room for one another.
    const DATE: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
    const LOCATION: (&str, &str) = ("location", "https://www.example.com");
    let first = [(":status", "302"), ("cache-control", "private"), DATE, LOCATION];
    let second = [(":status", "307"), ("cache-control", "private"), DATE, LOCATION];
    let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let third = [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        LOCATION,
        ("content-encoding", "gzip"),
        ("set-cookie", cookie),
    ];
    follow(
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 \
                 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                &first,
                222,
            ),
            ("4803 3330 37c1 c0bf", &second, 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a \
                 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d \
                 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                &third,
                215,
            ),
        ],
        256,
    );
    follow(
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d \
                 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                &first,
                222,
            ),
            ("4883 640e ffc1 c0bf", &second, 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d \
                 d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 \
                 3d50 07",
                &third,
                215,
            ),
        ],
        256,
    );
}

#[test]
fn what_is_no_block_is_refused() {
    for block in [
        "80",                // index 0
        "be",                // an entry that is not there
        "ff 80 80 80 80 01", // a number without end
        "ff ff ff ff ff ff", //
        "7f",                // cut off in its index
        "40",                // … before its name
        "40 01",             // … within its name
        "40 01 61 05 61",    // … within its value
        "3f e2 1f",          // a table of 4097 bytes
        "82 20",             // a change of the table in the middle
        "00 81 ff 01 61",    // padding of a byte
    ] {
        assert_eq!(decode(&mut Decoder::new(), &bytes(block)), Err(Damaged), "{block}");
    }
    // Two changes of the table at the beginning are in form.
    assert_eq!(decode(&mut Decoder::new(), &bytes("20 3f e1 1f 82")).map(|fields| fields.len()), Ok(1));
}

#[test]
fn noise_never_panics() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..20_000 {
        let mut decoder = Decoder::new();
        for _ in 0..3 {
            let block: Vec<u8> = (0..random.usize(..60)).map(|_| random.u8(..)).collect();
            let _ = decoder.decode(&block, |_, _, _| ());
        }
    }
}
