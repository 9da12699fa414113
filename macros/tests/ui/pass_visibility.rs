//! The struct, its functions and its arguments are as visible as the function was.
#![deny(warnings, unreachable_pub, private_interfaces)]

mod outer {
    use litework::{Result, task};
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(crate) struct Known(pub(crate) u32);

    #[derive(Serialize, Deserialize)]
    struct Hidden(u32);

    #[task]
    pub(crate) fn shown(known: Known) -> Result<Known> {
        Ok(known)
    }

    #[task]
    fn kept(hidden: Hidden) -> Result<Hidden> {
        Ok(hidden)
    }

    pub(crate) mod inner {
        use super::Hidden;
        use litework::task;

        #[task]
        pub(super) fn lifted(hidden: Hidden) -> Hidden {
            hidden
        }

        #[task]
        pub(in crate::outer) fn placed() -> Option<super::Hidden> {
            super::inner::lifted(Hidden(self::count(1))).into()
        }

        fn count(number: u32) -> u32 {
            number
        }
    }

    pub(crate) fn sum() -> u32 {
        drop((kept::with(Hidden(1)), inner::lifted::with(Hidden(1)), inner::placed::with()));
        let number = kept(Hidden(1)).map_or(0, |hidden| hidden.0);
        number + inner::lifted(Hidden(2)).0 + inner::placed().map_or(0, |hidden| hidden.0)
    }
}

use outer::shown;

fn main() {
    drop(shown::with(outer::Known(1)));
    assert_eq!(shown::NAME, "shown");
    assert_eq!(shown(outer::Known(1)).map_or(0, |known| known.0), 1);
    assert_eq!(outer::sum(), 4);
}
