//! The operations of a COMPOUND, and in which minor versions there are which.

macro_rules! operations {
    ($($name:ident = $number:literal,)*) => {
        /// An operation that this server knows by name (`nfs_opnum4`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation {
            $(
                #[allow(missing_docs)]
                $name = $number,
            )*
        }

        impl Operation {
            fn of(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

operations! {
    Access = 3,
    Close = 4,
    Commit = 5,
    Create = 6,
    DelegPurge = 7,
    DelegReturn = 8,
    GetAttr = 9,
    GetFh = 10,
    Link = 11,
    Lock = 12,
    LockT = 13,
    LockU = 14,
    Lookup = 15,
    LookupP = 16,
    NVerify = 17,
    Open = 18,
    OpenAttr = 19,
    OpenConfirm = 20,
    OpenDowngrade = 21,
    PutFh = 22,
    PutPubFh = 23,
    PutRootFh = 24,
    Read = 25,
    ReadDir = 26,
    ReadLink = 27,
    Remove = 28,
    Rename = 29,
    Renew = 30,
    RestoreFh = 31,
    SaveFh = 32,
    SecInfo = 33,
    SetAttr = 34,
    SetClientId = 35,
    SetClientIdConfirm = 36,
    Verify = 37,
    Write = 38,
    ReleaseLockOwner = 39,
    BindConnToSession = 41,
    ExchangeId = 42,
    CreateSession = 43,
    DestroySession = 44,
    FreeStateId = 45,
    SecInfoNoName = 52,
    Sequence = 53,
    TestStateId = 55,
    DestroyClientId = 57,
    ReclaimComplete = 58,
}

/// The result number of an operation that does not exist (RFC 7530 section 16.14).
pub(crate) const ILLEGAL: u32 = 10_044;

/// What a number means in a minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// An operation that is carried out.
    Here(Operation),
    /// An operation of that version which this server does not have, as the RFC allows.
    Unsupported,
    /// No operation.
    Illegal,
}

/// Highest operation of each minor version: RFC 7530, RFC 8881, RFC 7862 with RFC 8276.
const HIGHEST: [u32; 3] = [39, 58, 75];

/// Looks an operation up. `minor` must be at most [`MINOR_MAX`].
pub(crate) fn known(number: u32, minor: u32) -> Known {
    use Operation as O;
    if !(3..=HIGHEST[minor as usize]).contains(&number) {
        return Known::Illegal;
    }
    match Operation::of(number) {
        None => Known::Unsupported,
        // Sessions replace these (RFC 8881 section 16.2 and the sections of chapter 18).
        Some(
            O::SetClientId
            | O::SetClientIdConfirm
            | O::Renew
            | O::OpenConfirm
            | O::ReleaseLockOwner,
        ) if minor > 0 => Known::Unsupported,
        Some(operation) => Known::Here(operation),
    }
}

/// Minor versions answered. All that 2 adds to 1 is optional, and answered "not supported".
pub(crate) const MINOR_MAX: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minor_version_has_its_operations() {
        assert_eq!(known(24, 0), Known::Here(Operation::PutRootFh));
        assert_eq!(known(53, 1), Known::Here(Operation::Sequence));
        for (number, minor) in [(0, 0), (2, 1), (40, 0), (53, 0), (59, 1), (76, 2), (u32::MAX, 2)] {
            assert_eq!(known(number, minor), Known::Illegal, "{number} in 4.{minor}");
        }
        for (number, minor) in [(35, 1), (30, 2), (20, 1), (50, 1), (68, 2)] {
            assert_eq!(known(number, minor), Known::Unsupported, "{number} in 4.{minor}");
        }
    }
}
