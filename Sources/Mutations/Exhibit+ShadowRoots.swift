#if MUTATIONS
  extension Exhibit {
    /// Shadow paging: synchronization and roots.
    static var shadowRoots: [Exhibit] {
      [
        Exhibit(
          .linkUnsyncedChild, "link-unsynced-child", catalogued: "SY-01",
          "A table that leads to some out of sync is linked as it is.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .unsyncPageUsedAsItIs, "unsync-page-used-as-it-is",
          "A table out of sync is found and linked as it is.",
          in: "ShadowMMU/ShadowMMU+Pages.swift"),
        Exhibit(
          .promotedWhileUnsync, "promoted-while-unsync",
          "A page table out of sync stays when the guest makes a directory of it.",
          in: "ShadowMMU/ShadowMMU+Pages.swift",
          equivalent:
            "a directory is tracked, so that every store to it reaches all its shadows"
        ),
        Exhibit(
          .deferredFlushForgotten, "deferred-flush-forgotten-by-write-protect", catalogued: "SY-02",
          "What synchronization drops, processors keep.",
          in: "ShadowMMU/ShadowMMU+Sync.swift"),
        Exhibit(
          .syncMakesSiblingWritable, "sync-makes-sibling-writable", catalogued: "SY-04",
          "Of two tables that are brought up to date, one lets the guest write to the other.",
          in: "ShadowMMU/ShadowMMU+Frames.swift"),
        Exhibit(
          .writeTrackOneAddressSpace, "write-track-one-address-space", catalogued: "SY-11",
          "Only the asking address space's memslots say which frames are tracked.",
          in: "ShadowMMU/ShadowMMU+Frames.swift"),
        Exhibit(
          .lostUnsyncMark, "lost-unsync-mark",
          "Nobody above learns that a table goes out of sync.",
          in: "PageTables/PageTables+Shadow.swift"),
        Exhibit(
          .unsyncMarkStopsAtLevel2, "unsync-mark-stops-at-level-2",
          "Only the next level learns that a table goes out of sync.",
          in: "PageTables/PageTables+Shadow.swift"),
        Exhibit(
          .unsyncMarkLostOnLink, "unsync-mark-lost-on-link",
          "An entry that comes to lead to a table out of sync is not marked.",
          in: "PageTables/PageTables+Shadow.swift"),
        Exhibit(
          .unsyncMarkLeftOnUnlink, "unsync-mark-left-on-unlink",
          "An entry that leads nowhere stays marked.",
          in: "PageTables/PageTables+Shadow.swift"),
        Exhibit(
          .onlyFirstShadowGoesUnsync, "only-first-shadow-goes-unsync",
          "Of several shadows of a page table one goes out of sync.",
          in: "ShadowMMU/ShadowMMU+Frames.swift"),
        Exhibit(
          .prefetchTakesTablesOutOfSync, "prefetch-takes-tables-out-of-sync",
          "A guess takes a page table out of sync.",
          in: "ShadowMMU/ShadowMMU+Frames.swift",
          equivalent: "what is out of sync without need is brought up to date like the rest"),
        Exhibit(
          .syncWithoutProtection, "sync-without-protection",
          "Tables are brought up to date while the guest may write to them.",
          in: "ShadowMMU/ShadowMMU+Sync.swift"),
        Exhibit(
          .syncProtectsWithoutFlush, "sync-protects-without-flush",
          "Tables are brought up to date while processors remember that they may write to them.",
          in: "ShadowMMU/ShadowMMU+Sync.swift"),
        Exhibit(
          .syncKeepsMoreRights, "sync-keeps-more-rights",
          "Synchronization keeps rights that the guest has taken.",
          in: "ShadowMMU/ShadowMMU+Sync.swift"),
        Exhibit(
          .syncKeepsOldFrame, "sync-keeps-old-frame",
          "Synchronization changes the rights of a leaf and not its frame.",
          in: "ShadowMMU/ShadowMMU+Sync.swift"),
        Exhibit(
          .syncKeepsDevice, "sync-keeps-device",
          "Synchronization keeps a device where memory is now.",
          in: "ShadowMMU/ShadowMMU+Sync.swift",
          equivalent: "the guest's tables are walked for a device too, and say that memory is there"
        ),
        Exhibit(
          .syncIgnoresUpperRights, "sync-ignores-upper-rights",
          "Synchronization takes the rights of the last entry alone.",
          in: "ShadowMMU/ShadowMMU+Sync.swift"),
        Exhibit(
          .dirtyBitLostThroughSync, "dirty-bit-lost-through-sync",
          "Synchronization does not see that the guest has cleared a dirty bit.",
          in: "ShadowMMU/ShadowMMU+Sync.swift"),
        Exhibit(
          .accessedBitLostThroughSync, "accessed-bit-lost-through-sync",
          "Synchronization does not see that the guest has cleared an accessed bit.",
          in: "ShadowMMU/ShadowMMU+Sync.swift"),
        Exhibit(
          .quadrantIgnoredOnSync, "quadrant-ignored-on-sync",
          "Synchronization reads the first half of a guest's page table for both.",
          in: "ShadowMMU/ShadowMMU+Sync.swift"),
        Exhibit(
          .invlpgDoesNotSync, "invlpg-does-not-sync",
          "INVLPG leaves tables out of sync as they are.",
          in: "ShadowMMU/ShadowMMU+Forgetting.swift"),
        Exhibit(
          .invlpgMissesKeptRoots, "invlpg-misses-kept-roots",
          "INVLPG reaches the current root only.",
          in: "ShadowMMU/ShadowMMU+Forgetting.swift"),
        Exhibit(
          .invlpgLocalOnly, "invlpg-local-only", catalogued: "TF-25",
          "What INVLPG drops, processors keep.",
          in: "ShadowMMU/ShadowMMU+Forgetting.swift"),
        Exhibit(
          .invlpgByAllBits, "invlpg-by-all-bits",
          "INVLPG goes by bits of an address that the guest's mode does not translate.",
          in: "VirtualMachine/VirtualMachine+ShadowUpkeep.swift"),
        Exhibit(
          .invpcidMissesKeptRoots, "invpcid-misses-kept-roots",
          "INVPCID of an address reaches the current root only.",
          in: "ShadowMMU/ShadowMMU+Forgetting.swift"),
        Exhibit(
          .flushLeavesRootUnsynced, "flush-leaves-root-unsynced",
          "A flush does not bring the current root up to date.",
          in: "ShadowMMU/ShadowMMU+Forgetting.swift"),
        Exhibit(
          .flushMissesKeptRoots, "flush-misses-kept-roots",
          "A flush reaches the current root only.",
          in: "ShadowMMU/ShadowMMU+Forgetting.swift"),
        Exhibit(
          .flushOfZeroPCIDOnly, "flush-of-zero-pcid-only",
          "A flush of any PCID is taken for one of PCID 0.",
          in: "ShadowMMU/ShadowMMU+Forgetting.swift"),
        Exhibit(
          .cr3LoadDoesNotSync, "cr3-load-does-not-sync",
          "The same CR3 again brings nothing up to date.",
          in: "ShadowMMU/ShadowMMU+Forgetting.swift"),
        Exhibit(
          .loadedRootNotSynced, "loaded-root-not-synced",
          "A root is loaded as it is.",
          in: "ShadowMMU/ShadowMMU+Roots.swift"),
        Exhibit(
          .rootStashedUnderWrongCR3, "root-stashed-under-wrong-cr3", catalogued: "RT-04",
          "The root that is left is kept under the CR3 that comes.",
          in: "ShadowMMU/ShadowMMU+Roots.swift"),
        Exhibit(
          .keptRootOfAnyPCID, "kept-root-of-any-pcid",
          "A root that was kept for one PCID serves another.",
          in: "ShadowMMU/ShadowMMU+Roots.swift"),
        Exhibit(
          .onlyFirstPrevRootChecked, "only-first-prev-root-checked", catalogued: "RT-03",
          "Of the roots that are kept, the first says whether all are obsolete.",
          in: "ShadowMMU/ShadowMMU+Roots.swift",
          equivalent: "a root that was kept is judged again before it is used"),
        Exhibit(
          .cr3NotValidatedOnSet, "cr3-not-validated-on-set", catalogued: "RT-01",
          "A root is shadowed wherever it lies.",
          in: "ShadowMMU/ShadowMMU+Roots.swift"),
        Exhibit(
          .dummyRootNeverLeft, "dummy-root-never-left",
          "A root without memory stays when memory comes.",
          in: "ShadowMMU/ShadowMMU+Fetch.swift"),
        Exhibit(
          .stalePDPTEs, "stale-pdptes",
          "Other PDPTEs under the same CR3 are the same root.",
          in: "ShadowMMU/ShadowMMU+Roots.swift"),
        Exhibit(
          .onlyFirstPDPTESynced, "only-first-pdpte-synced",
          "Only the first GiB of a bare root is brought up to date.",
          in: "ShadowMMU/ShadowMMU+Roots.swift"),
        Exhibit(
          .wrongQuadrant, "wrong-quadrant",
          "All quarters of a 32-bit directory are taken for the first.",
          in: "ShadowMMU/ShadowMMU+SpecialRoots.swift"),
        Exhibit(
          .specialRootKeepsPages, "special-root-keeps-pages",
          "A bare root that goes keeps its pages.",
          in: "ShadowMMU/ShadowMMU+SpecialRoots.swift"),
        Exhibit(
          .localRootFreedInPart, "local-root-freed-in-part",
          "A local root that goes stays a parent of the last three GiB.",
          in: "ShadowMMU/ShadowMMU+SpecialRoots.swift"),
        Exhibit(
          .specialEntriesMissEncryption, "special-entries-miss-enc-bit", catalogued: "PA-05",
          "The entries of bare tables do not say that what they lead to is encrypted.",
          in: "ShadowMMU/ShadowMMU+SpecialRoots.swift"),
        Exhibit(
          .localEntriesMissEncryption, "local-entries-miss-enc-bit",
          "The PDPTEs of a local root do not say that what they lead to is encrypted.",
          in: "PageTables/EntryEncoding+Making.swift"),
        Exhibit(
          .leavesMissEncryption, "leaves-miss-enc-bit",
          "A leaf does not say that its page is encrypted.",
          in: "PageTables/EntryEncoding+Making.swift"),
        Exhibit(
          .deviceLeavesEncrypted, "device-leaves-encrypted",
          "A leaf says of a device's frame that it is encrypted.",
          in: "PageTables/EntryEncoding+Making.swift"),
        Exhibit(
          .deviceEntriesEncrypted, "device-entries-encrypted",
          "The mark of a device has the encryption bit.",
          in: "PageTables/EntryEncoding+Making.swift"),
        Exhibit(
          .syncEncryptsDevice, "sync-encrypts-device",
          "Synchronization takes the page of every leaf for memory.",
          in: "ShadowMMU/ShadowMMU+Sync.swift"),
        Exhibit(
          .rootPointerMissesEncryption, "root-pointer-misses-enc-bit",
          "CR3 of 64 bits does not say that the root is encrypted.",
          in: "VirtualMachine/VirtualMachine+Shadow.swift"),
        Exhibit(
          .paeRootLeftEncrypted, "pae-root-left-encrypted",
          "The root of PAE paging stays encrypted, which CR3 of 32 bits cannot say.",
          in: "ShadowMMU/ShadowMMU+Encryption.swift"),
        Exhibit(
          .paeRootFreedDecrypted, "pae-root-freed-decrypted",
          "A root of PAE paging is given back as it is, in the clear.",
          in: "ShadowMMU/ShadowMMU+Encryption.swift"),
        Exhibit(
          .rootDecryptedUnderLongMode, "root-decrypted-under-long-mode",
          "What may stand in for a root is decrypted although CR3 says that it is encrypted.",
          in: "ShadowMMU/ShadowMMU+Encryption.swift"),
        Exhibit(
          .invalidRootStaysInUse, "invalid-root-stays-in-use",
          "A root that was zapped while a processor used it is used on.",
          in: "ShadowMMU/ShadowMMU+Pages.swift"),
        Exhibit(
          .invalidRootLeaked, "invalid-root-leaked",
          "A root that was zapped while a processor used it never goes.",
          in: "ShadowMMU/ShadowMMU+Roots.swift"),
        Exhibit(
          .loadedRootNotFlushed, "loaded-root-not-flushed",
          "A processor keeps what the root before gave.",
          in: "VirtualMachine/VirtualMachine+Shadow.swift"),
      ]
    }
  }
#endif
