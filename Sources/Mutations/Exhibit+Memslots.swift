#if MUTATIONS
  extension Exhibit {
    /// Memslots, their generations, and the invalidation sequence.
    static var memslots: [Exhibit] {
      [
        Exhibit(
          .slotReachesTooFar, "slot-reaches-too-far",
          "A memslot holds one frame more than it has.",
          in: "GuestMemory/Memslot.swift"),
        Exhibit(
          .slotHintNotChecked, "slot-hint-not-checked",
          "The memslot found last answers for every frame.",
          in: "GuestMemory/MemslotSet.swift"),
        Exhibit(
          .slotSearchOffEnd, "slot-search-off-end", catalogued: "MS-12",
          "A search that ends beside every memslot finds one.",
          in: "GuestMemory/MemslotSet.swift"),
        Exhibit(
          .hostRangesOverlapUnseen, "host-ranges-overlap-unseen",
          "A memslot is not found by host addresses behind a longer one.",
          in: "GuestMemory/MemslotSet.swift"),
        Exhibit(
          .overlapUnseen, "overlap-unseen",
          "A memslot may lie over another.",
          in: "GuestMemory/GuestMemory+Changes.swift"),
        Exhibit(
          .generationNotAdvanced, "generation-not-advanced",
          "A layout has the generation of the one before.",
          in: "GuestMemory/GuestMemory+Changes.swift"),
        Exhibit(
          .inactiveSetLeftBehind, "inactive-set-left-behind",
          "The set that readers do not see keeps the old layout.",
          in: "GuestMemory/GuestMemory+Changes.swift"),
        Exhibit(
          .misalignedHugePagesAllowed, "misaligned-huge-pages-allowed",
          "Huge pages are allowed where guest and host addresses do not agree.",
          in: "GuestMemory/MemslotMetadataStore.swift"),
        Exhibit(
          .slotTailNotRefused, "slot-tail-not-refused",
          "A huge page may reach over the end of its memslot.",
          in: "GuestMemory/MemslotMetadataStore.swift"),
        Exhibit(
          .lpageArrayOffByOne, "lpage-array-off-by-one", catalogued: "HP-11",
          "Partial huge pages at the ends of a memslot have no word.",
          in: "GuestMemory/MemslotMetadataStore.swift"),
        Exhibit(
          .sequenceNotAdvanced, "sequence-not-advanced",
          "The end of an invalidation is not counted.",
          in: "GuestMemory/InvalidationSequence.swift"),
        Exhibit(
          .invalidationRangeReplaced, "invalidation-range-replaced",
          "Of an invalidation of several memslots only the last range counts.",
          in: "GuestMemory/InvalidationSequence.swift"),
        Exhibit(
          .zapRangeDoesNotBlockFaults, "zap-range-does-not-block-faults", catalogued: "TD-07",
          "The range of an invalidation is noted in bytes and not in frames.",
          in: "GuestMemory/InvalidationSequence.swift"),
        Exhibit(
          .invalidateSeqTruncated, "invalidate-seq-truncated", catalogued: "TD-10",
          "The moment of a fault is kept in too few bits, with a sign; here four.",
          in: "GuestMemory/InvalidationSequence.swift"),
        Exhibit(
          .notifiersNotHeld, "notifiers-not-held",
          "A layout is published between begin and end of a notifier.",
          in: "GuestMemory/InvalidationSequence.swift"),
      ]
    }
  }
#endif
