public import PagingUnits

/// A change of the guest's memory layout that was found permissible and is on its way.
///
/// The machine takes it through these steps, holding its memslot lock from before `prepare`:
///
///     prepare
///       ▼
///     [publishInvalid ▸ wait ▸ finishSwap]      for delete and move
///       ▼
///     prepareMetadata ── refused ──▶ revert [▸ wait ▸ finishSwap]
///       ▼
///     publish ▸ wait ▸ finishSwap
///
/// *Wait* means: until every reader section that began before the publication has ended. A change
/// that was begun and then dropped traps.
public struct PreparedMemslotChange: ~Copyable {
  /// What kind of change it is (KVM: `kvm_mr_change`).
  public enum Kind: UInt8, Hashable, Sendable {
    /// A new slot.
    case create
    /// A slot goes.
    case delete
    /// A slot comes to lie at other guest frames.
    case move
    /// A slot changes its flags only.
    case changeFlags
  }

  enum Stage {
    /// Only looked at; may be dropped.
    case prepared
    /// The INVALID copy is published, readers may still use the original.
    case publishingInvalid
    /// The INVALID copy is all that readers see.
    case invalid
    /// Everything that can be refused was had.
    case ready
    /// The change is published, readers may still use the layout before.
    case publishing
    /// The original is published again, readers may still see the INVALID copy.
    case reverting
    /// Nothing is left to do.
    case finished
  }

  /// What kind of change it is.
  public let kind: Kind
  /// The address space that changes.
  public let addressSpace: AddressSpace
  /// The slot as it was; `nil` for a new one.
  public let old: Memslot?
  /// The slot as it will be; `nil` for one that goes.
  ///
  /// Its metadata is known after `prepareMetadata`.
  public internal(set) var new: Memslot?
  var stage = Stage.prepared

  init(kind: Kind, addressSpace: AddressSpace, old: Memslot?, new: Memslot?) {
    self.kind = kind
    self.addressSpace = addressSpace
    self.old = old
    self.new = new
  }

  /// Whether readers must first see the old slot as invalid and its shadow be flushed: the slot is
  /// taken away or moved.
  public var needsInvalidPhase: Bool { kind == .delete || kind == .move }

  deinit {
    switch stage {
    case .prepared, .finished: break
    default: preconditionFailure("a memslot change that was begun is taken to its end")
    }
  }
}
