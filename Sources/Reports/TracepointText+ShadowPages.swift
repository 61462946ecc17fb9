import MachineEvents
import PagingUnits

extension TextBuffer {
  /// Writes an event of the life of a shadow page.
  mutating func appendShadowPageEvent(_ event: MachineEvent) {
    switch event {
    case .getPage(let page, let creation):
      appendShadowPage(page)
      append(creation == .new ? " new" : " existing")
    case .prepareZapPage(let page), .syncPage(let page), .unsyncPage(let page):
      appendShadowPage(page)
    case .zapAllFast(let generation, let usedPages):
      field("kvm-mmu-valid-gen ", UInt64(generation))
      field(" used_pages ", hex: UInt64(usedPages))
    default: preconditionFailure("only events of shadow pages come here")
    }
  }

  /// Writes a shadow page (KVM: `KVM_MMU_PAGE_PRINTK`): its generation, frame, level, the size of
  /// the guest's entries, quadrant, rights, and whether NX and accessed/dirty bits are in use.
  mutating func appendShadowPage(_ page: ShadowPageRecord) {
    let role = ShadowPageRoleFields(page.role)
    field("sp gen ", UInt64(page.generation))
    field(" gfn ", hex: page.frame.number)
    field(" l", role.level)
    field(" ", role.hasShortEntries ? 4 : 8)
    field("-byte q", role.quadrant)
    if role.isDirect { append(" direct") }
    append(" ")
    append(Self.accessText(role.access))
    if role.isInvalid { append(" invalid") }
    append(role.hasNoExecute ? " nxe" : " !nxe")
    append(role.lacksAccessedDirty ? " !ad" : " ad")
    field(" root ", UInt64(page.rootCount))
    append(page.unsync ? " unsync" : " sync")
  }

  /// The rights of a shadow page, by KVM's three access bits.
  private static func accessText(_ access: UInt64) -> StaticString {
    switch access & 7 {
    case 0: "---"
    case 1: "--x"
    case 2: "w--"
    case 3: "w-x"
    case 4: "-u-"
    case 5: "-ux"
    case 6: "wu-"
    default: "wux"
    }
  }
}

/// The fields of a role word that tracepoints print (KVM: `union kvm_mmu_page_role`).
private struct ShadowPageRoleFields {
  let level: UInt64
  let hasShortEntries: Bool
  let quadrant: UInt64
  let isDirect: Bool
  let access: UInt64
  let isInvalid: Bool
  let hasNoExecute: Bool
  let lacksAccessedDirty: Bool

  init(_ role: UInt32) {
    let word = UInt64(role)
    level = Field(0...3).value(in: word)
    hasShortEntries = Field(bit: 4).isSet(in: word)
    quadrant = Field(5...6).value(in: word)
    isDirect = Field(bit: 7).isSet(in: word)
    access = Field(8...10).value(in: word)
    isInvalid = Field(bit: 11).isSet(in: word)
    hasNoExecute = Field(bit: 12).isSet(in: word)
    lacksAccessedDirty = Field(bit: 16).isSet(in: word)
  }
}
