import Mutations
public import PagingUnits

/// Who may do what with a page, as a truth table that is computed once (KVM: `permissions`,
/// `pkru_mask`).
///
/// A check is two look-ups: one by what is asked (write, user, SMAP exempt, fetch) that answers a
/// bitmap over the eight combinations of rights, and one for the protection key.
public struct PermissionTable: Sendable {
  /// The control bits that the table depends on.
  public struct Controls: OptionSet, Hashable, Sendable {
    /// The bits.
    public let rawValue: UInt8
    /// Wraps the bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// CR0.WP: supervisor writes respect read-only pages.
    public static let writeProtect = Controls(rawValue: 1)
    /// EFER.NXE: pages may refuse fetches.
    public static let noExecute = Controls(rawValue: 2)
    /// CR4.SMEP.
    public static let executionPrevention = Controls(rawValue: 4)
    /// CR4.SMAP.
    public static let accessPrevention = Controls(rawValue: 8)
    /// CR4.PKE in long mode.
    public static let protectionKeys = Controls(rawValue: 16)
  }

  /// For each request, a bitmap over `AccessRights.rawValue` of the rights that refuse it.
  ///
  /// The index is bits 4:1 of the error code asked for: bit 0 write, bit 1 user, bit 2 SMAP exempt
  /// (in the place of the reserved-bit flag), bit 3 fetch.
  public var refusals: InlineArray<16, UInt8>
  /// For each request, with the page's user right in the place of bit 3 of the code, which of a
  /// key's two bits (1: access disabled, 2: write disabled) are heeded.
  public var keyMask: UInt32
  /// Accesses that EFLAGS.AC never exempts from SMAP: the implicit ones.
  public var neverExempt: PageFaultErrorCode = .implicitAccess

  /// The table of a guest's own tables (KVM: `update_permission_bitmask`, `update_pkru_bitmask`).
  public init(_ controls: Controls) {
    refusals = .init(repeating: 0)
    keyMask = 0
    for index in 0..<16 {
      for rights in 0..<8 as Range<UInt8> {
        if Self.isRefused(Request(index), AccessRights(rawValue: rights), controls) {
          refusals[index] |= 1 << rights
        }
      }
      if Mutation.stalePKRUMask.isActive {
        keyMask |= Self.heededKeyBits(Request(index), controls) << (2 * UInt32(index))
      }
      guard controls.contains(.protectionKeys) else { continue }
      keyMask |= Self.heededKeyBits(Request(index), controls) << (2 * UInt32(index))
    }
  }

  /// The table of EPT-shaped tables: each kind of access needs its own right, and nothing else.
  public init(ept: Void) {
    refusals = .init(repeating: 0)
    keyMask = 0
    for index in 0..<16 {
      let request = Request(index)
      for bits in 0..<8 as Range<UInt8> {
        let rights = AccessRights(rawValue: bits)
        let refused =
          (request.isWrite && !rights.contains(.write))
          || (request.isUser && !rights.contains(.user))
          || (request.isFetch && !rights.contains(.execute))
        if refused { refusals[index] |= 1 << bits }
      }
    }
  }

  /// What an index into the table stands for.
  private struct Request {
    let isWrite: Bool
    let isUser: Bool
    /// SMAP is overridden; in the table of keys, the page is a user page.
    let third: Bool
    let isFetch: Bool

    init(_ index: Int) {
      isWrite = index & 1 != 0
      isUser = index & 2 != 0
      third = index & 4 != 0
      isFetch = index & 8 != 0
    }
  }

  /// The rules themselves (SDM volume 3A, "Determination of Access Rights").
  private static func isRefused(
    _ request: Request, _ rights: AccessRights, _ controls: Controls
  ) -> Bool {
    let userPage = rights.contains(.user)
    if Mutation.supervisorPagesOpenToUser.isActive && request.isUser && !userPage { return false }
    if Mutation.supervisorFetchesUserPages.isActive && request.isFetch && !request.isUser {
      return false
    }
    if Mutation.supervisorReachesUserPages.isActive && !request.isFetch && !request.isUser
      && userPage
    {
      return false
    }
    if request.isUser && !userPage { return true }
    if request.isWrite && !rights.contains(.write)
      && (request.isUser || controls.contains(.writeProtect))
    {
      return true
    }
    if request.isFetch && !rights.contains(.execute) && controls.contains(.noExecute) {
      return true
    }
    guard !request.isUser && userPage else { return false }
    if request.isFetch { return controls.contains(.executionPrevention) }
    return controls.contains(.accessPrevention) && !request.third
  }

  /// Which bits of a key are heeded (SDM volume 3A, "Protection Keys").
  private static func heededKeyBits(_ request: Request, _ controls: Controls) -> UInt32 {
    guard request.third && !request.isFetch else { return 0 }
    let heedsWrites =
      request.isWrite && (request.isUser || controls.contains(.writeProtect))
    return heedsWrites ? 0b11 : 0b01
  }

  /// Whether the rights refuse what `code` asks, and whether the key does.
  ///
  /// * `code`: what is asked: write, user, fetch, implicit.
  /// * `rights`: what the tables permit.
  /// * `key`: the leaf's protection key.
  /// * `pkru`: the rights of the keys.
  /// * `alignmentCheck`: EFLAGS.AC, which exempts explicit supervisor accesses from SMAP.
  /// - Returns: nothing when permitted; else `present`, with `protectionKey` if the key refused.
  public func refusal(
    of code: PageFaultErrorCode, rights: AccessRights, key: UInt64, pkru: UInt32,
    alignmentCheck: Bool
  ) -> PageFaultErrorCode {
    let exempts = Mutation.implicitAccessExempt.isActive
    let bound = code.rawValue & neverExempt.rawValue != 0 && !exempts
    let asked = code.rawValue & (Mutation.errorCodeHighBitsIndexTable.isActive ? .max : 0b10110)
    let exempt: UInt64 = alignmentCheck && !bound ? 0b1000 : 0
    let index = Int(truncatingIfNeeded: (asked | exempt) &>> 1)
    var refused = (refusals[index] &>> rights.rawValue) & 1 != 0
    var answer: UInt64 = 1
    if keyMask != 0 {
      let place = asked | (UInt64(rights.rawValue & 4) &<< 1)
      let heeded = keyMask &>> UInt32(truncatingIfNeeded: place)
      if (pkru &>> UInt32(truncatingIfNeeded: 2 &* key)) & heeded & 3 != 0 {
        refused = true
        answer |= 1 << 5
      }
    }
    return PageFaultErrorCode(rawValue: refused ? answer : 0)
  }
}
